"""The life of one session: its machine, its transports, its timer, its handler.

A `Client` owns one Engine.IO session with what it needs of the world: the transports
that carry it at this moment, one timer, and the task that writes to its WebSocket.
What the session receives goes to the client's `Handler`, which an `Application`
makes; `dispatch` has the one that speaks Socket.IO.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from .engineio.events import Closed, CloseReason, Event, MessageReceived, Upgraded
from .engineio.session import CLOSE_NORMAL, Session

logger = logging.getLogger(__name__)

# How long a WebSocket may take to get rid of what was queued before its close.
FLUSH_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Handshake:
    """The request that opened a session, as applications may want to see it.

    Header names are in lower case; of a repeated query parameter the last counts.
    """

    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    address: str | None = None
    secure: bool = False
    url: str = ""


class WebSocket(Protocol):
    """A WebSocket that a client's frames can be written to."""

    async def send_frame(self, frame: str | bytes) -> None:
        """Sends one frame; may wait for a slow peer. Raises OSError when it is gone."""

    async def close(self, code: int) -> None:
        """Closes it in order."""

    def abort(self) -> None:
        """Drops it, whatever is still on its way."""


class Poll(Protocol):
    """A GET that is held until there is something to answer."""

    def answer(self, body: bytes) -> None:
        """Answers it."""


class Post(Protocol):
    """A POST whose body is still on its way."""

    def refuse_post(self) -> None:
        """Ends it, since its session has ended."""


class Handler(Protocol):
    """The application's end of one client. No method may block or raise."""

    def receive(self, message: str | bytes) -> None:
        """Called with each message, in order."""

    def closed(self, reason: CloseReason) -> None:
        """Called once, when the session has ended."""

    def confirmed(self, count: int) -> None:
        """Called when the peer is seen to have taken its first `count` messages."""

    def tick(self, now: float) -> None:
        """Called when `next_deadline` has come."""

    @property
    def next_deadline(self) -> float | None:
        """When it wants to be called."""


Application = Callable[["Client"], Handler]


class Client:
    """One session with its transports. Every method is called on the event loop."""

    __slots__ = (
        "__weakref__",
        "_confirmed",
        "_drained",
        "_ended",
        "_flush_deadline",
        "_forget",
        "_loop",
        "_poll",
        "_post",
        "_probe",
        "_timer",
        "_timer_at",
        "_websocket",
        "_writer",
        "handler",
        "handshake",
        "session",
    )

    def __init__(
        self,
        session: Session,
        handshake: Handshake,
        application: Application,
        forget: Callable[[Client], None],
    ) -> None:
        """`forget` is called when the session is of no more use to requests."""
        self.session = session
        self.handshake = handshake
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._websocket: WebSocket | None = None
        self._probe: WebSocket | None = None
        self._poll: Poll | None = None
        self._post: Post | None = None
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._writer: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._confirmed = 0
        self._ended = False
        self._flush_deadline: float | None = None
        self.handler: Handler = application(self)

    @property
    def writable(self) -> bool:
        """False while the peer lags; emitters should then `drain`."""
        return self.session.writable or not self.session.is_open

    @property
    def is_gone(self) -> bool:
        """True once the session has ended and its last packet is with a transport."""
        return self.session.is_closed and not (self._websocket or self._probe)

    # What the application does.

    def send(self, messages: list[str | bytes]) -> None:
        """Queues messages that belong together; never blocks."""
        now = self._loop.time()
        for message in messages:
            self._after(self.session.send_message(message, now))

    async def drain(self) -> None:
        """Returns when the peer has caught up, or is gone."""
        while not self.writable:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def close(self, reason: CloseReason = CloseReason.FORCED_CLOSE) -> None:
        """Ends the session after what is queued has been sent."""
        self._after(self.session.close(reason, self._loop.time()))

    # What the transports do.

    def start_poll(self, poll: Poll) -> bool:
        """Takes a GET to answer. False: refused, since another is held."""
        accepted, events = self.session.start_poll()
        if accepted:
            self._poll = poll
        self._after(events)
        return accepted

    def lose_poll(self, poll: Poll) -> None:
        """A GET's connection is gone; of no matter once it has its answer."""
        if self._poll is poll:
            self._poll = None
            self._after(self.session.lose_poll())

    def start_post(self, post: Post) -> bool:
        """Announces a POST. False: refused, since another is being received."""
        accepted, events = self.session.start_post()
        if accepted:
            self._post = post
        self._after(events)
        return accepted

    def lose_post(self) -> None:
        """The POST will not come to its end."""
        self._post = None
        self._after(self.session.lose_post())

    def receive_payload(self, body: bytes) -> None:
        """Takes in the body of a POST."""
        self._post = None
        self._after(self.session.receive_payload(body, self._loop.time()))

    def adopt(self, websocket: WebSocket) -> None:
        """Gives a session that was opened by a WebSocket its transport."""
        self._websocket = websocket
        self._after([])

    def open_websocket(self, websocket: WebSocket) -> bool:
        """Takes a WebSocket that names this session. False: not wanted, close it."""
        if not self.session.open_websocket(self._loop.time()):
            return False
        self._probe = websocket
        self._after([])
        return True

    def receive_frame(self, websocket: WebSocket, frame: str | bytes) -> None:
        """Takes in a frame."""
        now = self._loop.time()
        if websocket is self._websocket:
            self._after(self.session.receive_frame(frame, now))
        elif websocket is self._probe:
            self._after(self.session.receive_probe_frame(frame, now))

    def lose_websocket(self, websocket: WebSocket) -> None:
        """A WebSocket is gone."""
        if websocket is self._websocket:
            self._websocket = None
            self._after(self.session.lose_websocket())
        elif websocket is self._probe:
            self._probe = None
            self.session.lose_probe()
            self._after([])
        elif self._websocket is None and self.session.transport == "websocket":
            # It went before it was adopted.
            self._after(self.session.lose_websocket())

    # Time.

    def tick(self) -> None:
        """Does what is due; also called before a request is judged."""
        now = self._loop.time()
        if self._flush_deadline is not None and now >= self._flush_deadline:
            self._drop()
        self._after(self.session.tick(now))
        deadline = self._handler_deadline()
        if deadline is not None and now >= deadline:
            self.handler.tick(now)
            self._after([])

    def _arm(self) -> None:
        """Sets the one timer. A deadline that moved away leaves it as it is: it
        fires early, finds nothing due, and is set again."""
        deadline = self._next_deadline()
        if self._timer is not None:
            if deadline is not None and deadline >= self._timer_at:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer_at = deadline
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _next_deadline(self) -> float | None:
        if self.session.is_closed:
            has_transport = self._websocket is not None or self._probe is not None
            return self._flush_deadline if has_transport else None
        deadline, other = self.session.next_deadline, self._handler_deadline()
        if deadline is None or other is None:
            return deadline if other is None else other
        return min(deadline, other)

    def _handler_deadline(self) -> float | None:
        return self.handler.next_deadline if self.session.is_open else None

    def _on_timer(self) -> None:
        self._timer = None
        self.tick()

    # Within.

    def _after(self, events: list[Event]) -> None:
        """Follows every call of the session: tells, moves, arms the timer."""
        for event in events:
            self._handle(event)
        if self.session.confirmed_messages != self._confirmed:
            self._confirmed = self.session.confirmed_messages
            self.handler.confirmed(self._confirmed)
        self._flush()
        self._arm()

    def _handle(self, event: Event) -> None:
        match event:
            case MessageReceived(data):
                # Those before a packet that ends the session still count; those
                # behind a message for which the handler ends it do not.
                if not self._ended:
                    self.handler.receive(data)
            case Upgraded():
                self._websocket, self._probe = self._probe, None
            case Closed(reason, slow):
                self._ended = True
                if slow:
                    logger.warning(
                        "slow_client: session closed with %d bytes not taken (%s)",
                        self.session.unconfirmed_bytes,
                        reason.value,
                    )
                self.handler.closed(reason)
                post, self._post = self._post, None
                if post is not None:
                    post.refuse_post()
                stuck = reason is CloseReason.PING_TIMEOUT and self._writer is not None
                if slow or stuck:
                    self._drop()

    def _drop(self) -> None:
        """Lets go of the transports, whatever they still hold."""
        if self._writer is not None:
            self._writer.cancel()
        for websocket in (self._websocket, self._probe):
            if websocket is not None:
                websocket.abort()
        self._websocket = self._probe = None

    def _flush(self) -> None:
        session = self.session
        if self._poll is not None:
            body = session.take_poll()
            if body is not None:
                poll, self._poll = self._poll, None
                poll.answer(body)
        if self._writer is None and self._has_work():
            self._writer = self._loop.create_task(self._write())
            self._writer.add_done_callback(self._written)
        if self._drained is not None and self.writable:
            self._drained.set_result(None)
            self._drained = None
        if session.is_closed and self._flush_deadline is None:
            self._flush_deadline = self._loop.time() + FLUSH_TIMEOUT_S
            self._forget(self)

    def _has_work(self) -> bool:
        session = self.session
        if self._websocket is not None:
            return session.is_closed or session.has_frames or session.has_probe_frames
        if self._probe is not None:
            return not session.probe_is_open or session.has_probe_frames
        return False

    async def _write(self) -> None:
        """Writes what is ready; the one place that does, so order is kept."""
        session = self.session
        while (websocket := self._websocket or self._probe) is not None:
            if (frame := session.take_probe_frame()) is None:
                # None as well while the WebSocket is but a probe.
                frame = session.take_frame()
            if frame is not None:
                await websocket.send_frame(frame)
            elif websocket is self._probe and not session.probe_is_open:
                self._probe = None
                await websocket.close(CLOSE_NORMAL)
            elif websocket is self._websocket and session.is_closed:
                self._websocket = None
                await websocket.close(session.close_code)
            else:
                return

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writer = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._after([])
            return
        if not isinstance(error, OSError):
            logger.error("Writing to a WebSocket failed", exc_info=error)
        if self._probe is not None:
            self.lose_websocket(self._probe)
        elif self._websocket is not None:
            self.lose_websocket(self._websocket)
