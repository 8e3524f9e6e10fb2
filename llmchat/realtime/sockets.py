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
from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from .namespaces import ConnectionRefused, Namespace, event
from .replay import Replay
from .socketio.connection import encode_ack, encode_event

if TYPE_CHECKING:
    from .request import Handshake

__all__ = [
    "Ack",
    "ConnectionRefused",
    "DisconnectedError",
    "Namespace",
    "Socket",
    "event",
]

logger = logging.getLogger(__name__)

MAX_PENDING_CALLS = 1_000


class DisconnectedError(ConnectionError):
    """The socket went away while its answer was awaited."""


class Ack:
    """Answers one event, once; further calls are ignored."""

    __slots__ = ("_ack_id", "_line", "_socket")

    def __init__(self, socket: Socket, ack_id: int) -> None:
        self._socket = socket
        self._ack_id = ack_id
        # A client that went away does not wait any more, even if it comes back.
        self._line = socket.line

    def __call__(self, *args: Any) -> None:
        """Sends the answer; its arguments are those of the client's callback.

        Raises:
            TypeError, ValueError: an argument has no JSON form.
        """
        line, self._line = self._line, None
        if line is not None and line is self._socket.line and self._socket.joined:
            line.send(encode_ack(self._socket.namespace.name, self._ack_id, args))


QueuedEvent = tuple[Any, tuple[Any, ...], Ack | None]


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

    def send(self, messages: list[str | bytes]) -> None:
        """Queues messages that belong together."""

    async def drain(self) -> None:
        """Returns when the client has caught up, or is gone."""

    def expel(self, socket: Socket, *, close: bool) -> None:
        """Makes the client leave the namespace, or close altogether."""

    def close(self) -> None:
        """Closes the connection; the client will come back by itself."""


class Socket:
    """One client in one namespace. Its methods are called on the event loop.

    `id` is known to the client, `pid` a secret that it may come back with. `data` is
    for your own use. After a recovery it is the same socket, with another handshake.
    """

    __slots__ = (
        "__weakref__",
        "_calls",
        "_early",
        "_forgotten",
        "_next_call",
        "_tasks",
        "auth",
        "data",
        "events",
        "expiry",
        "farewell",
        "handshake",
        "id",
        "joined",
        "line",
        "namespace",
        "pid",
        "recovered",
        "replay",
        "rooms",
        "worker",
    )

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
        self._early: list[list[str | bytes]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._calls: dict[int, asyncio.Future[tuple[Any, ...]]] = {}
        self._next_call = 0
        self._forgotten = False
        # The dispatcher's: events that wait and the task that handles them, the
        # end of the recovery window, the task that runs `on_disconnect`.
        self.events: deque[QueuedEvent] | None = None
        self.worker: asyncio.Task[None] | None = None
        self.expiry: asyncio.TimerHandle | None = None
        self.farewell: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Socket {self.namespace.name} {self.id[:6]}…>"

    @property
    def connected(self) -> bool:
        """True while the client is there."""
        return self.joined and self.line is not None

    @property
    def is_absent(self) -> bool:
        """True while the client is gone and may come back."""
        return self.expiry is not None

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
        if not self.replay.keep(messages, self._send(messages)):
            self._cannot_recover()

    def _cannot_recover(self) -> None:
        """Gives up on a client that would have too much to catch up with."""
        self.pid, pid = None, self.pid
        self.replay = None
        self.namespace.unregister_pid(pid)

    def _send(self, messages: list[str | bytes]) -> int | None:
        """Sends if there is a client; how many messages it has been given then."""
        line = self.line
        if line is None:
            return None
        if not self.joined:
            if self.replay is None:
                self._early.append(messages)
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
        future: asyncio.Future[tuple[Any, ...]]
        future = asyncio.get_running_loop().create_future()
        self._calls[ack_id] = future
        try:
            self._send(encode_event(self.namespace.name, name, args, ack_id))
            async with asyncio.timeout(timeout_s):
                return await future
        finally:
            self._calls.pop(ack_id, None)

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
        if self._forgotten:
            task.cancel()
        return task

    def _work_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, DisconnectedError):
            logger.debug("A task of %r ended with its client", self)
        else:
            logger.error("A task of %r failed", self, exc_info=error)

    # What the dispatcher calls.

    def admit(self) -> None:
        """The client is in: it gets what was emitted before it was."""
        self.joined = True
        early, self._early = self._early, []
        for messages in early:
            self._send(messages)
        if self.replay is not None:
            self.replay.resend(self._send)

    def detach(self) -> None:
        """The client is gone; those who wait for its answers are told."""
        self.line = None
        self.joined = False
        for future in self._calls.values():
            if not future.done():
                future.set_exception(DisconnectedError("the client went away"))

    def end_tasks(self) -> None:
        """The socket is forgotten."""
        self._forgotten = True
        for task in self._tasks:
            task.cancel()
