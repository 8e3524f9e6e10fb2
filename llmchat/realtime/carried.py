"""What currently carries a session: its requests and its WebSockets.

Every method that a transport calls informs the protocol machine (`session`) first, and
leaves the machine's events to `_follow_up`. The methods are those of `Endpoint`.
"""

from __future__ import annotations

import asyncio
from functools import partial

from .engineio.events import Event
from .engineio.session import Session
from .engineio.upgrade import PROBE_PING
from .transports import Poll, Post, WebSocket
from .turns import turns
from .websockets import WebSockets

BAD_REQUEST = 400


class Carried:
    """A session with its transports. Every method is called on the event loop."""

    __slots__ = (
        "_answered",
        "_loop",
        "_poll",
        "_polls_elsewhere",
        "_post",
        "_websockets",
        "session",
    )

    def __init__(self, session: Session) -> None:
        self.session = session
        self._loop = asyncio.get_running_loop()
        self._poll: Poll | None = None
        self._polls_elsewhere = False  # whether its latest poll was another worker's
        self._answered: Poll | None = None  # the poll whose answer is being sent
        self._post: Post | None = None
        self._websockets = WebSockets(session)

    def _follow_up(self, events: list[Event]) -> None:
        """Report these events, and do all that may have become due."""
        raise NotImplementedError

    def start_poll(self, poll: Poll) -> None:
        """Take a GET to answer; refuse it while another is open.

        A GET whose answer is still being sent counts as open: a client polls again only
        once it has the answer.
        """
        self._take_poll(poll, is_elsewhere=False)

    def _take_poll(self, poll: Poll, *, is_elsewhere: bool) -> None:
        if self._answered is not None:
            self._follow_up(self.session.lose_answer())
        accepted, events = self.session.start_poll()
        if accepted:
            self._poll = poll
            self._polls_elsewhere = is_elsewhere
        self._follow_up(events)
        if not accepted:
            poll.refuse(BAD_REQUEST)

    def lose_poll(self, poll: Poll) -> None:
        """Note that a GET's connection was lost; ignored once its answer is sent."""
        if self._poll is poll:
            self._poll = None
            self._follow_up(self.session.lose_poll())
        elif self._answered is poll:
            self._answered = None
            self._follow_up(self.session.lose_answer())

    def answer_sent(self, poll: Poll) -> None:
        """Note that the answer to a GET was sent."""
        if self._answered is poll:
            self._answered = None

    def start_post(self, post: Post) -> None:
        """Note that a POST has begun; refuse it while another is open."""
        accepted, events = self.session.start_post()
        if accepted:
            self._post = post
        self._follow_up(events)
        if not accepted:
            post.refuse(BAD_REQUEST)

    def lose_post(self, post: Post) -> None:
        """Note that a POST is illegal or lost; ignored once it is answered."""
        if self._post is post:
            self._post = None
            self._follow_up(self.session.lose_post())

    def receive_payload(self, post: Post, body: bytes) -> None:
        """Take in the body of a POST."""
        if self._post is post:
            self._post = None
            self._follow_up(self.session.receive_payload(body, self._loop.time()))
            self._read_on(post)

    def _read_on(self, post: Post) -> None:
        """Answer a POST once all its packets are taken in, which is done in turns."""
        if self.session.payload_waits:
            turns().call(partial(self._receive_more, post))
        else:
            post.accept()

    def _receive_more(self, post: Post) -> None:
        self._follow_up(self.session.receive_more(self._loop.time()))
        self._read_on(post)

    def adopt(self, websocket: WebSocket) -> None:
        """Take the WebSocket that opened the session as its transport."""
        self._websockets.adopt(websocket, self._follow_up)
        self._follow_up([])

    def open_websocket(self, websocket: WebSocket) -> None:
        """Take a WebSocket that names this session as a probe; close it if unwanted."""
        self._websockets.open(websocket, self._loop.time(), self._follow_up)
        self._follow_up([])

    def receive_frame(self, websocket: WebSocket, frame: str | bytes) -> None:
        """Take in a frame; ignored from a WebSocket that only closes."""
        self._follow_up(self._websockets.receive(websocket, frame, self._loop.time()))

    def lose_websocket(self, websocket: WebSocket) -> None:
        """Note that a WebSocket was lost."""
        self._follow_up(self._websockets.lose(websocket))

    # Called for requests that arrived at other workers.

    @property
    def polls_elsewhere(self) -> bool:
        """Return whether its client polls, lately by way of another worker."""
        is_polling = self.session.is_open and self.session.transport == "polling"
        return is_polling and self._polls_elsewhere

    def start_poll_elsewhere(self, poll: Poll) -> None:
        """Take a GET that another worker holds."""
        self._take_poll(poll, is_elsewhere=True)

    def break_off(self) -> None:
        """End the session: one of its requests was lost or illegal."""
        self._follow_up(self.session.lose_answer())

    def open_probe_elsewhere(self) -> bool:
        """Take another worker's WebSocket as a probe. False: it is unwanted."""
        is_wanted = self.session.open_websocket(self._loop.time())
        self._follow_up([])
        return is_wanted

    def ping_probe_elsewhere(self) -> bool:
        """Take in that WebSocket's ping. False: it is no longer the probe.

        The pong is the other worker's; what is held until the ping is answered now.
        """
        session = self.session
        if not session.probe_is_open:
            return False
        events = session.receive_probe_frame(PROBE_PING, self._loop.time())
        session.take_probe_frame()
        self._follow_up(events)
        return True

    def lose_probe_elsewhere(self) -> None:
        """Note that that WebSocket was lost; polling continues."""
        self.session.lose_probe()
        self._follow_up([])
