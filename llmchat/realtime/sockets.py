"""What applications do with a client: a `Socket` is one client in one namespace.

A socket outlives a lost connection for the server's recovery window. What is emitted to
it in that time is kept, up to a limit, and sent when its client is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from .offsets import Marks
from .outlet import DisconnectedError, Outlet, SocketState
from .request import Handshake
from .tasks import Tasks

logger = logging.getLogger(__name__)


class Ack:
    """Answers one event, once; further calls are ignored."""

    __slots__ = ("_ack_id", "_connection", "_outlet")

    def __init__(self, outlet: Outlet, ack_id: int) -> None:
        self._outlet: Outlet | None = outlet
        self._ack_id = ack_id
        # A client that disconnected no longer waits for it, even if it comes back.
        self._connection = outlet.connection

    def __call__(self, *args: Any) -> None:
        """Send the answer; its arguments are those of the client's callback.

        Raises:
            TypeError, ValueError: an argument has no JSON form.
        """
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            outlet.acknowledge(self._ack_id, args, self._connection)


class Home(Protocol):
    """What a socket needs from its namespace."""

    @property
    def name(self) -> str:
        """Return what clients ask for."""

    def enter(self, socket: Socket, room: str) -> None:
        """Put a socket into a room."""

    def exit(self, socket: Socket, room: str) -> None:
        """Take a socket out of a room."""


class Socket:
    """One client in one namespace. Its methods are called on the event loop.

    `id` is known to the client. `data` is for your own use. After a recovery it is
    the same socket, with another handshake and another `auth`.
    """

    __slots__ = (
        "__weakref__",
        "_outlet",
        "_tasks",
        "auth",
        "data",
        "events",
        "handshake",
        "id",
        "namespace",
        "recovered",
        "rooms",
    )

    def __init__(
        self,
        namespace: Home,
        id_: str,
        auth: dict[str, Any],
        handshake: Handshake,
        outlet: Outlet,
        tasks: Tasks,
    ) -> None:
        self.id = id_
        self.namespace = namespace
        self.auth = auth
        self.handshake = handshake
        self.data: Any = None
        self.rooms: set[str] = set()
        self.recovered = False
        # How many of its events wait for a handler, or are being handled.
        self.events = 0
        self._outlet = outlet
        self._tasks = tasks

    def __repr__(self) -> str:
        return f"<Socket {self.namespace.name} {self.id[:6]}…>"

    @property
    def connected(self) -> bool:
        """Return whether the client is connected and was let in."""
        return self._outlet.state is SocketState.JOINED

    @property
    def is_absent(self) -> bool:
        """Return whether the client is disconnected and may come back."""
        return self._outlet.state is SocketState.ABSENT

    @property
    def is_busy(self) -> bool:
        """Return whether an event or a spawned task is at work, or waits for that."""
        return bool(self.events or self._tasks)

    @property
    def transport(self) -> str | None:
        """Return "polling" or "websocket", None while the client is disconnected."""
        line = self._outlet.line
        return line.transport if line is not None else None

    @property
    def writable(self) -> bool:
        """Return whether to send more; if not, merge what you can, and `drain`."""
        return self._outlet.writable

    @property
    def marks(self) -> Marks:
        """Return how far the client is with stored logs: this outlives the worker."""
        return self._outlet.marks

    # Out.

    def emit(self, name: str, *args: Any, volatile: bool = False) -> None:
        """Send an event; never blocks. Bytes may appear anywhere in the arguments.

        `volatile`: drop it when the client is disconnected or lags.

        Raises:
            ReservedEventError: the name is the protocol's own.
            TypeError, ValueError: an argument has no JSON form.
        """
        if not volatile or (self.connected and self.writable):
            self._outlet.emit(name, args)

    def prepare(self, name: str) -> str:
        """Return what `emit_prepared` needs to send an event many times.

        Raises:
            ReservedEventError: the name is the protocol's own.
        """
        return self._outlet.prepare(name)

    def emit_prepared(
        self, prepared: str, *arguments: str, marks: Sequence[str] = ()
    ) -> None:
        """Send an event for each of `arguments`, the JSON of one or more arguments.

        `marks` say how far the client is with a log after each of these events.
        """
        self._outlet.emit_prepared(prepared, arguments, marks)

    async def drain(self) -> None:
        """Wait while the client lags, or is absent and has much to catch up with.

        Return immediately when it cannot come back.
        """
        await self._outlet.drain()

    async def call(
        self, name: str, *args: Any, timeout_s: float = 10.0
    ) -> tuple[Any, ...]:
        """Send an event and return the client's answer: its arguments.

        Raises:
            TimeoutError: no answer arrived in time.
            DisconnectedError: the client disconnected or was not connected, or too many
                calls await its answer.
        """
        return await self._outlet.call(name, args, timeout_s)

    # Rooms.

    def join(self, room: str) -> None:
        """Enter a room."""
        self.namespace.enter(self, room)

    def leave(self, room: str) -> None:
        """Leave a room."""
        self.namespace.exit(self, room)

    # The end.

    def disconnect(self, close: bool = False) -> None:
        """Make the client leave this namespace; it does not come back by itself.

        `close`: leave every namespace and close the connection. A socket that waits
        for its client's return is forgotten. A client that is not let in yet leaves
        after the answer that lets it in; with `close` there is no such answer.
        """
        self._outlet.leave(close=close)

    def close_transport(self) -> None:
        """Close the connection so that the client comes back by itself."""
        if self._outlet.line is not None:
            self._outlet.line.close()

    def spawn(
        self, work: Coroutine[Any, Any, Any], *, moves: bool = False
    ) -> asyncio.Task[Any]:
        """Run work that belongs to this socket; cancelled when it is forgotten.

        The socket can move to another worker only when its work is done. Work that
        `moves` is not waited for but cancelled: `move_out` says what is left to do.
        """
        task = self._tasks.run(work, is_loose=moves)
        task.add_done_callback(self._log_failure)
        return task

    def _log_failure(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, DisconnectedError):
            logger.debug("A task of %r ended with its client", self)
        else:
            logger.error("A task of %r failed", self, exc_info=error)
