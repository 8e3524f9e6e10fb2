"""The life of one session: its machine, its transports, its timer, its receiver.

A `Peer` owns one Engine.IO session with what it needs of the world: the requests that
carry it at this moment, a writer for each of its WebSockets, and one timer. What the
session receives goes to the peer's `Receiver`, which an `Application` makes;
`dispatch` has the one that speaks Socket.IO.

Every method that the world calls asks the machine first and then hands the machine's
events to `_follow_up`, which does all that may have become due. So the order in which
a transport, the application and the timer come does not matter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from .engineio.events import Closed, CloseReason, Event, MessageReceived, Upgraded
from .engineio.session import Session
from .rare_log import RareLog
from .receiver import Receiver
from .request import Handshake
from .timer import LazyTimer
from .transports import Poll, Post, WebSocket
from .turns import turns
from .websockets import WebSockets

rare_log = RareLog(logging.getLogger(__name__))

BAD_REQUEST = 400


Application = Callable[["Peer"], Receiver]


class Peer:
    """One session with its transports. Every method is called on the event loop."""

    __slots__ = (
        "__weakref__",
        "_answered",
        "_changed",
        "_confirmed",
        "_forget",
        "_loop",
        "_poll",
        "_post",
        "_receiver",
        "_timer",
        "_websockets",
        "handshake",
        "session",
    )

    def __init__(
        self,
        session: Session,
        handshake: Handshake,
        application: Application,
        forget: Callable[[Peer], None],
    ) -> None:
        """`forget` is called when no request can use the session any more."""
        self.session = session
        self.handshake = handshake
        self._forget: Callable[[Peer], None] | None = forget
        self._loop = asyncio.get_running_loop()
        self._poll: Poll | None = None
        self._answered: Poll | None = None  # its answer is on the way
        self._post: Post | None = None
        self._websockets = WebSockets(session)
        self._timer = LazyTimer()
        self._changed: asyncio.Future[None] | None = None
        self._confirmed = 0
        # None behind its `closed`: most know their peer, which would keep both alive.
        self._receiver: Receiver | None = application(self)

    @property
    def sid(self) -> str:
        """Return the session's id."""
        return self.session.sid

    @property
    def writable(self) -> bool:
        """Return whether emitters may go on; if not, they should `drain`."""
        return self.session.writable or not self.session.is_open

    @property
    def is_gone(self) -> bool:
        """Return whether the session has ended and its last packet was sent."""
        return self.session.is_closed and not self._websockets

    # What the application does.

    def send(self, messages: list[str | bytes]) -> None:
        """Queue messages that belong together; never blocks."""
        session, now = self.session, self._loop.time()
        events: list[Event] = []
        for message in messages:
            events += session.send_message(message, now)
        if events or not session.writable:
            self._follow_up(events)
        else:
            # Nothing can have changed but that there is more to move.
            self._move()

    async def drain(self) -> None:
        """Wait until the client has caught up, or the session has ended."""
        await self._until(lambda: self.writable)

    async def wait_gone(self) -> None:
        """Wait until the session has ended and its last packet was sent."""
        await self._until(lambda: self.is_gone)

    def close(self, reason: CloseReason = CloseReason.FORCED_CLOSE) -> None:
        """End the session after what is queued has been sent."""
        self._follow_up(self.session.close(reason, self._loop.time()))

    # What the transports do: see `Endpoint`.

    def start_poll(self, poll: Poll) -> None:
        """Take a GET to answer; refuse it beside another.

        One whose answer is still on its way is another: a client has that first.
        """
        if self._answered is not None:
            self._follow_up(self.session.lose_answer())
        accepted, events = self.session.start_poll()
        if accepted:
            self._poll = poll
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
        """Take note of a POST; refuse it beside another."""
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
        """Answer a POST when all its packets are taken in, which is done in turns."""
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

    # Time.

    def tick(self) -> None:
        """Do what is due; also called before a request is judged."""
        now = self._loop.time()
        self._follow_up(self.session.tick(now))
        receiver, deadline = self._receiver, self._receiver_deadline()
        if receiver is not None and deadline is not None and now >= deadline:
            receiver.tick(now)
            self._follow_up([])

    def _next_deadline(self) -> float | None:
        deadlines = (self.session.next_deadline, self._receiver_deadline())
        return min((d for d in deadlines if d is not None), default=None)

    def _receiver_deadline(self) -> float | None:
        return self._receiver.next_deadline if self._receiver is not None else None

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._changed is None:
                self._changed = self._loop.create_future()
            await asyncio.shield(self._changed)

    # After every call of the session.

    def _follow_up(self, events: list[Event]) -> None:
        """Report what happened, move what is ready, set the timer."""
        for event in events:
            self._report(event)
        if self.session.confirmed_messages != self._confirmed:
            self._confirmed = self.session.confirmed_messages
            if self._receiver is not None:
                self._receiver.confirmed(self._confirmed)
        self._move()
        if self._changed is not None and (self.writable or self.is_gone):
            self._changed.set_result(None)
            self._changed = None
        if self.session.is_closed and self._forget is not None:
            forget, self._forget = self._forget, None
            forget(self)
        self._timer.set(self._next_deadline(), self.tick)

    def _move(self) -> None:
        """Hand what is ready to the transport."""
        if self._poll is not None:
            self._answer_poll(self._poll)
        self._websockets.wake()

    def _report(self, event: Event) -> None:
        match event:
            case MessageReceived(data):
                # Those before a packet that ends the session still count; those
                # behind a message for which the receiver ends it do not.
                if self._receiver is not None:
                    self._receiver.receive(data)
            case Upgraded():
                self._websockets.upgrade()
            case Closed():
                self._report_close(event)

    def _report_close(self, closed: Closed) -> None:
        if closed.slow:
            size, reason = self.session.unconfirmed_bytes, closed.reason.value
            text = f"slow_client: session closed with {size} bytes not taken ({reason})"
            rare_log.warn("slow_client", text)
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.closed(closed.reason)
        post, self._post = self._post, None
        if post is not None:
            post.refuse(BAD_REQUEST)
        if closed.slow or closed.reason is CloseReason.PING_TIMEOUT:
            # Nothing more will be taken by a client that is slow or silent.
            self._websockets.drop(writing_only=not closed.slow)

    def _answer_poll(self, poll: Poll) -> None:
        if (body := self.session.take_poll()) is not None:
            self._poll = None
            self._answered = poll
            poll.answer(body)
