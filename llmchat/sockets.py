"""The public API for real-time code: namespaces, their sockets, rooms and events.

A `Namespace` is a class of yours; a `Socket` is one client in it.

    class Lobby(Namespace):
        name = "/lobby"

        @event("say")
        async def say(self, socket: Socket, text: str, *, ack: Ack | None) -> None:
            self.emit("said", text, skip=[socket])
            if ack:
                ack(len(self.sockets))

Only events declared with `@event` have handlers: a name that a client sends is never
looked up among attributes.

A socket outlives a lost connection for the server's recovery window. Whatever is
emitted to it meanwhile is kept, up to a limit, and follows when its client is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from .replay import Replay
from .socketio.connection import encode_ack, encode_event

if TYPE_CHECKING:
    from .server import Handshake

logger = logging.getLogger(__name__)

MAX_QUEUED_EVENTS = 20_000
MAX_PENDING_CALLS = 1_000

EventHandler = Callable[..., Awaitable[None]]
HandlerT = TypeVar("HandlerT", bound=EventHandler)


class ConnectionRefused(Exception):  # noqa: N818 - what happened, not an error
    """Raised by `on_connect` to turn a client away.

    The client gets `connect_error` with this message and data.
    """

    def __init__(self, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class DisconnectedError(ConnectionError):
    """The socket went away while its answer was awaited."""


class Ack:
    """Answers one event, once; further calls are ignored."""

    __slots__ = ("_ack_id", "_socket")

    def __init__(self, socket: Socket, ack_id: int) -> None:
        self._socket: Socket | None = socket
        self._ack_id = ack_id

    def __call__(self, *args: Any) -> None:
        """Sends the answer; its arguments are those of the client's callback."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.answer(self._ack_id, args)


def event(name: str) -> Callable[[HandlerT], HandlerT]:
    """Declares a method of a `Namespace` as the handler of an event.

    It is called as `handler(socket, *args, ack=…)`, `ack` being None where the
    client asked for no answer.
    """

    def declare(handler: HandlerT) -> HandlerT:
        handler.__dict__["event_name"] = name
        return handler

    return declare


class Line(Protocol):
    """What a socket needs of the connection that it is attached to."""

    @property
    def writable(self) -> bool:
        """False while the client lags."""

    @property
    def transport(self) -> str:
        """The present transport's name."""

    @property
    def queued(self) -> int:
        """How many messages were ever queued for the client."""

    @property
    def confirmed(self) -> int:
        """How many of these the client has been seen to take."""

    def send(self, messages: list[str | bytes]) -> None:
        """Queues messages that belong together."""

    async def drain(self) -> None:
        """Returns when the client has caught up, or is gone."""

    def expel(self, socket: Socket, *, close: bool) -> None:
        """Makes the client leave the namespace, or close altogether."""

    def close(self) -> None:
        """Closes the connection; the client will come back by itself."""


class Socket:
    """One client in one namespace. Its methods are called on the event loop."""

    def __init__(
        self,
        namespace: Namespace,
        sid: str,
        auth: dict[str, Any],
        handshake: Handshake,
        line: Line,
        pid: str | None,
    ) -> None:
        self.id = sid
        self.pid = pid
        self.namespace = namespace
        self.auth = auth
        self.handshake = handshake
        self.data: dict[str, Any] = {}
        self.rooms: set[str] = set()
        self.recovered = False
        self.joined = False
        self.line: Line | None = line
        self.replay = Replay() if pid is not None else None
        self.events: deque[tuple[Any, tuple[Any, ...], Ack | None]] = deque()
        self.worker: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._calls: dict[int, asyncio.Future[tuple[Any, ...]]] = {}
        self._next_call = 0
        self.expiry: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Socket {self.namespace.name} {self.id[:6]}…>"

    @property
    def connected(self) -> bool:
        """True while the client is there."""
        return self.joined and self.line is not None

    @property
    def transport(self) -> str | None:
        """ "polling" or "websocket", None while the client is away."""
        return self.line.transport if self.line is not None else None

    @property
    def writable(self) -> bool:
        """False while the client lags: merge what you can, and `drain`."""
        return self.line is None or self.line.writable

    # Out.

    def emit(self, name: str, *args: Any, volatile: bool = False) -> None:
        """Sends an event; never blocks. Bytes may stand anywhere in the arguments.

        `volatile`: drop it when the client is away or lags.

        Raises:
            ReservedEventError: the name is the protocol's own.
            TypeError, ValueError: an argument has no JSON form.
        """
        if volatile and not (self.connected and self.writable):
            return
        if self.replay is None:
            self._send(encode_event(self.namespace.name, name, args))
            return
        offset = self.replay.next_offset()
        messages = encode_event(self.namespace.name, name, (*args, offset))
        position = self._send(messages)
        if self.line is not None:
            self.replay.confirm(self.line.confirmed)
        if not self.replay.keep(messages, position):
            self._cannot_recover()

    def _cannot_recover(self) -> None:
        """Gives up on a client that would have too much to catch up with."""
        self.pid, pid = None, self.pid
        self.replay = None
        self.namespace.unregister_pid(pid)

    def _send(self, messages: list[str | bytes]) -> int | None:
        """Sends if there is a client; its place among the connection's messages."""
        line = self.line
        if line is None or not self.joined:
            return None
        line.send(messages)
        return line.queued

    async def drain(self) -> None:
        """Waits while the client lags; returns at once when it is gone."""
        if self.line is not None:
            await self.line.drain()

    async def call(
        self, name: str, *args: Any, timeout_s: float = 10.0
    ) -> tuple[Any, ...]:
        """Emits an event and waits for the client's answer: its arguments.

        Raises:
            TimeoutError: no answer came in time.
            DisconnectedError: the client went away, or is away.
        """
        if not self.connected or len(self._calls) >= MAX_PENDING_CALLS:
            raise DisconnectedError("the client is away or answers nothing")
        ack_id = self._next_call
        self._next_call += 1
        future = asyncio.get_running_loop().create_future()
        self._calls[ack_id] = future
        try:
            self._send(encode_event(self.namespace.name, name, args, ack_id))
            async with asyncio.timeout(timeout_s):
                return await future
        finally:
            self._calls.pop(ack_id, None)

    def answer(self, ack_id: int, args: tuple[Any, ...]) -> None:
        """Answers an event of the client; see `Ack`."""
        if self.connected:
            self._send(encode_ack(self.namespace.name, ack_id, args))

    def resolve(self, ack_id: int, args: tuple[Any, ...]) -> None:
        """Called with the client's answer; an answer to nothing is ignored."""
        future = self._calls.get(ack_id)
        if future is not None and not future.done():
            future.set_result(args)

    # Rooms.

    def join(self, room: str) -> None:
        """Enters a room."""
        self.namespace.enter(self, room)

    def leave(self, room: str) -> None:
        """Leaves a room."""
        self.namespace.exit(self, room)

    # The end.

    def disconnect(self, close: bool = False) -> None:
        """Makes the client leave this namespace; it will not come back by itself.

        `close`: leave every namespace and close the connection.
        """
        if self.line is not None:
            self.line.expel(self, close=close)

    def close_transport(self) -> None:
        """Closes the connection so that the client comes back by itself."""
        if self.line is not None:
            self.line.close()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs work that belongs to this socket; cancelled when it is forgotten."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._work_done)
        return task

    def _work_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A task of %r failed", self, exc_info=error)

    def detach(self) -> None:
        """Called when the client is gone; those who wait for its answers are told."""
        self.line = None
        self.joined = False
        self.events.clear()
        if self.replay is not None:
            self.replay.detach()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(DisconnectedError("the client went away"))

    def end_tasks(self) -> None:
        """Called when the socket is forgotten."""
        for task in self._tasks:
            task.cancel()


class Namespace:
    """Your code, and all clients that joined it.

    `name` is what clients ask for. With `serial`, the default, a socket's events are
    handled one after another in the order of arrival; without, a handler starts when
    its event arrives.
    """

    name: ClassVar[str] = "/"
    serial: ClassVar[bool] = True

    handlers: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls) -> None:
        declared = {
            member.__dict__["event_name"]: attribute
            for attribute, member in vars(cls).items()
            if "event_name" in getattr(member, "__dict__", {})
        }
        cls.handlers = {**cls.handlers, **declared}

    def __init__(self) -> None:
        self._sockets: dict[str, Socket] = {}
        self._rooms: dict[str, set[Socket]] = defaultdict(set)
        self._by_pid: dict[str, Socket] = {}

    # What to override.

    async def on_connect(self, socket: Socket) -> None:
        """Called before a client is let in. Raise `ConnectionRefused` to refuse."""

    async def on_joined(self, socket: Socket) -> None:
        """Called when a client is in, and again after each recovery of its socket."""

    async def on_recover(self, socket: Socket, auth: dict[str, Any]) -> bool:
        """Called when a client wants to take up its socket after a lost connection.

        `auth` is what it sends now. False: it gets a new socket instead.
        """
        return True

    async def on_event(
        self, socket: Socket, name: Any, args: tuple[Any, ...], ack: Ack | None
    ) -> bool:
        """Called with every event, before its handler. False: it is dropped."""
        return True

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        """Called when the client is gone; while recovery is possible, it may return."""

    async def on_forget(self, socket: Socket) -> None:
        """Called when the socket cannot come back any more."""

    # What to call.

    @property
    def sockets(self) -> list[Socket]:
        """The clients that are here now."""
        return [socket for socket in self._sockets.values() if socket.connected]

    @property
    def absent(self) -> list[Socket]:
        """The sockets whose clients are away and may come back."""
        return [s for s in self._sockets.values() if s.expiry is not None]

    def emit(
        self,
        name: str,
        *args: Any,
        room: str | None = None,
        skip: Iterable[Socket] = (),
    ) -> None:
        """Sends an event to all clients, or to all of a room, some of them aside."""
        members = self._sockets.values() if room is None else self._rooms.get(room, ())
        skipped = set(skip)
        for socket in [s for s in members if s not in skipped]:
            socket.emit(name, *args)

    # What the dispatcher calls.

    def handler(self, name: Any) -> EventHandler | None:
        """The handler declared for an event."""
        attribute = self.handlers.get(name) if isinstance(name, str) else None
        return None if attribute is None else getattr(self, attribute)

    def enter(self, socket: Socket, room: str) -> None:
        """Puts a socket into a room."""
        self._rooms[room].add(socket)
        socket.rooms.add(room)

    def exit(self, socket: Socket, room: str) -> None:
        """Takes a socket out of a room; the last one closes it."""
        socket.rooms.discard(room)
        members = self._rooms.get(room)
        if members is not None:
            members.discard(socket)
            if not members:
                del self._rooms[room]

    def register(self, socket: Socket) -> None:
        """Takes in a socket that may join; every socket is a room of its own."""
        self._sockets[socket.id] = socket
        self.enter(socket, socket.id)
        if socket.pid is not None:
            self._by_pid[socket.pid] = socket

    def unregister(self, socket: Socket) -> None:
        """Strikes a socket."""
        self._sockets.pop(socket.id, None)
        self.unregister_pid(socket.pid)
        for room in list(socket.rooms):
            self.exit(socket, room)

    def unregister_pid(self, pid: str | None) -> None:
        """Lets nobody take up a socket by this id any more."""
        if pid is not None:
            self._by_pid.pop(pid, None)

    def find_by_pid(self, pid: str) -> Socket | None:
        """The socket that a client may take up again."""
        return self._by_pid.get(pid)
