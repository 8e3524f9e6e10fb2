"""The sessions of this process, and the life of each: machine, transports, timer.

A `Client` owns one Engine.IO session with what it needs of the world: the transports
that carry it at this moment, one timer, and the task that writes to its WebSocket.
What the session receives goes to the client's `Handler`, which the server's
`application` makes; `dispatch` has the one that speaks Socket.IO.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from .engineio.errors import Refusal, RequestError
from .engineio.events import Closed, CloseReason, Event, MessageReceived, Upgraded
from .engineio.handshake import (
    Action,
    Options,
    check_request,
    check_version,
    make_sid,
)
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


@dataclass(frozen=True, slots=True)
class Request:
    """One request or WebSocket handshake, reduced to what the checks need."""

    method: str
    websocket: bool
    handshake: Handshake

    @property
    def sid(self) -> str:
        """The session it names, "" where it names none."""
        return self.handshake.query.get("sid", "")


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


class Handler(Protocol):
    """The application's end of one client. No method may block or raise."""

    def receive(self, message: str | bytes) -> None:
        """Called with each message, in order."""

    def closed(self, reason: CloseReason) -> None:
        """Called once, when the session has ended."""

    def tick(self, now: float) -> None:
        """Called when `next_deadline` has come."""

    @property
    def next_deadline(self) -> float | None:
        """When it wants to be called."""


Application = Callable[["Client"], Handler]
AllowRequest = Callable[[Request], Awaitable[str | None]]


class Client:
    """One session with its transports. Every method is called on the event loop."""

    __slots__ = (
        "_drained",
        "_loop",
        "_poll",
        "_probe",
        "_server",
        "_timer",
        "_websocket",
        "_writer",
        "handler",
        "handshake",
        "session",
    )

    def __init__(self, server: Server, session: Session, handshake: Handshake) -> None:
        self.session = session
        self.handshake = handshake
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._websocket: WebSocket | None = None
        self._probe: WebSocket | None = None
        self._poll: Poll | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writer: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self.handler: Handler = server.application(self)

    @property
    def writable(self) -> bool:
        """False while the peer lags; emitters should then `drain`."""
        return self.session.writable or not self.session.is_open

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

    def lose_poll(self) -> None:
        """The held GET's connection is gone."""
        self._poll = None
        self._after(self.session.lose_poll())

    def start_post(self) -> bool:
        """Announces a POST. False: refused, since another is being received."""
        accepted, events = self.session.start_post()
        self._after(events)
        return accepted

    def lose_post(self) -> None:
        """The POST will not come to its end."""
        self._after(self.session.lose_post())

    def receive_payload(self, body: bytes) -> None:
        """Takes in the body of a POST."""
        self._after(self.session.receive_payload(body, self._loop.time()))

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

    def tick(self) -> None:
        """Does what is due; also called before a request is judged."""
        now = self._loop.time()
        self._after(self.session.tick(now))
        deadline = self.handler.next_deadline
        if self.session.is_open and deadline is not None and now >= deadline:
            self.handler.tick(now)
            self._after([])

    def abort(self, reason: CloseReason) -> None:
        """Ends the session at once."""
        self._after(self.session.abort(reason))

    # Within.

    def adopt(self, websocket: WebSocket) -> None:
        """Gives a session that was opened by a WebSocket its transport."""
        self._websocket = websocket
        self._after([])

    def _after(self, events: list[Event]) -> None:
        """Follows every call of the session: tells, moves, arms the timer."""
        for event in events:
            self._handle(event)
        self._flush()
        self._arm()

    def _handle(self, event: Event) -> None:
        match event:
            case MessageReceived(data) if self.session.is_open:
                self.handler.receive(data)
            case Upgraded():
                self._websocket, self._probe = self._probe, None
            case Closed(reason, slow):
                if slow:
                    logger.warning(
                        "slow_client: session closed with %d bytes not taken (%s)",
                        self.session.unconfirmed_bytes,
                        reason.value,
                    )
                self.handler.closed(reason)
                self._limit_the_end(reason, slow)

    def _limit_the_end(self, reason: CloseReason, slow: bool) -> None:
        """Gives what is still queued a limited time to be written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writer is not None and (slow or reason is CloseReason.PING_TIMEOUT):
            self._drop()
        elif self.session.is_closed and (self._websocket or self._probe):
            self._timer = self._loop.call_later(FLUSH_TIMEOUT_S, self._drop)

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
        if session.is_closed:
            self._server.forget(self)

    def _has_work(self) -> bool:
        if self._websocket is not None:
            return self.session.is_closed or self.session.has_frames
        if self._probe is not None:
            return not self.session.probe_is_open or self.session.has_probe_frames
        return False

    async def _write(self) -> None:
        """Writes what is ready; the one place that does, so order is kept."""
        session = self.session
        while True:
            if self._probe is not None:
                if (frame := session.take_probe_frame()) is not None:
                    await self._probe.send_frame(frame)
                    continue
                if not session.probe_is_open:
                    probe, self._probe = self._probe, None
                    await probe.close(CLOSE_NORMAL)
                    continue
            if self._websocket is None:
                return
            if (frame := session.take_frame()) is not None:
                await self._websocket.send_frame(frame)
            elif session.is_closed:
                websocket, self._websocket = self._websocket, None
                await websocket.close(session.close_code)
            else:
                return

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writer = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._flush()
            return
        if not isinstance(error, OSError):
            logger.error("Writing to a WebSocket failed", exc_info=error)
        if self._probe is not None:
            self.lose_websocket(self._probe)
        elif self._websocket is not None:
            self.lose_websocket(self._websocket)

    def _arm(self) -> None:
        """Sets the one timer. A deadline that moved away leaves it as it is: it
        fires early, finds nothing due, and is set again."""
        if not self.session.is_open and self._timer is not None:
            return
        deadlines = (self.session.next_deadline, self._handler_deadline())
        deadline = min((d for d in deadlines if d is not None), default=None)
        if deadline is None:
            return
        if self._timer is None or deadline < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _handler_deadline(self) -> float | None:
        return self.handler.next_deadline if self.session.is_open else None

    def _on_timer(self) -> None:
        self._timer = None
        self.tick()


class Server:
    """All sessions of this process, and what is offered to new ones."""

    def __init__(
        self,
        application: Application,
        options: Options | None = None,
        *,
        allow_request: AllowRequest | None = None,
    ) -> None:
        """`application` makes the handler of each client. `allow_request` judges a
        request that would open a session: None lets it in, a text refuses it."""
        self.application = application
        self.options = options or Options()
        self._allow_request = allow_request
        self._clients: dict[str, Client] = {}
        self._stopping = False

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._clients.values()))

    def find(self, request: Request) -> tuple[Action, Client | None]:
        """What a request asks for, and the client that it names.

        Raises:
            RequestError: it is refused.
        """
        client = self._clients.get(request.sid)
        if client is not None:
            # A deadline counts when it has passed, not when its timer has run.
            client.tick()
            client = self._clients.get(request.sid)
        action = check_request(
            request.method,
            request.handshake.query,
            websocket=request.websocket,
            origin=request.handshake.headers.get("origin"),
            session_transport=client.session.transport if client else None,
            options=self.options,
        )
        return action, client

    async def open(self, request: Request) -> Client:
        """Opens a session for a request that asks for one.

        Raises:
            RequestError: the application or the version check refuses it.
        """
        if self._allow_request is not None:
            refused = await self._allow_request(request)
            if refused is not None:
                raise RequestError(Refusal.FORBIDDEN, refused or None)
        check_version(request.handshake.query)
        if self._stopping:
            raise RequestError(Refusal.FORBIDDEN, "Server shutting down")
        session = Session(
            make_sid(),
            request.handshake.query["transport"],
            asyncio.get_running_loop().time(),
            self.options,
            base64_only="b64" in request.handshake.query,
        )
        client = Client(self, session, request.handshake)
        self._clients[session.sid] = client
        return client

    def forget(self, client: Client) -> None:
        """Strikes a client whose session has ended."""
        self._clients.pop(client.session.sid, None)

    def shutdown(self) -> None:
        """Ends every session; opens no more."""
        self._stopping = True
        for client in self:
            client.close(CloseReason.SERVER_SHUTTING_DOWN)
