"""Socket.IO on the sessions of a `Server`: from its machine's events to handlers.

For each client a `SocketIOHandler` owns a Socket.IO connection and its sockets. It is
the one place that knows both protocols.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from .engineio.events import CloseReason
from .peer import Peer
from .socketio.connection import Connection, Limits
from .socketio.errors import PacketError, ProtocolError
from .socketio.events import (
    AckReceived,
    ConnectRequested,
    DisconnectReceived,
    Event,
    EventReceived,
)
from .sockets import (
    Ack,
    ConnectionRefused,
    DisconnectedError,
    Namespace,
    QueuedEvent,
    Socket,
)

logger = logging.getLogger(__name__)

ID_RANDOM_BYTES = 15

# Events of one socket that wait for those before them, or, where handlers need not
# wait for one another, that run.
MAX_WAITING_EVENTS = 20_000
MAX_RUNNING_EVENTS = 1_000

CLIENT_LEFT = "client namespace disconnect"
SERVER_EXPELLED = "server namespace disconnect"

# After these a client may come back and take up its sockets.
RECOVERABLE = frozenset(CloseReason) - {CloseReason.PARSE_ERROR}


@dataclass(frozen=True, slots=True)
class SocketIOOptions:
    """How Socket.IO is offered. `recovery_window_s` 0 switches recovery off."""

    limits: Limits = field(default_factory=Limits)
    recovery_window_s: float = 0.0


class SocketIO:
    """An application for `Server`: Socket.IO with these namespaces."""

    def __init__(
        self,
        namespaces: Iterable[Namespace],
        options: SocketIOOptions | None = None,
    ) -> None:
        self.namespaces = {namespace.name: namespace for namespace in namespaces}
        self.options = options or SocketIOOptions()
        self._tasks: set[asyncio.Task[Any]] = set()

    def __call__(self, client: Peer) -> SocketIOHandler:
        return SocketIOHandler(self, client)

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a handler as a task, and keeps hold of it until it has ended."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def forget(self, socket: Socket) -> None:
        """Ends a socket for good: its rooms, its tasks, its memory."""
        if socket.expiry is not None:
            socket.expiry.cancel()
            socket.expiry = None
        socket.namespace.unregister(socket)
        socket.end_tasks()
        self.run(_forgotten(socket))

    def shutdown(self) -> None:
        """Forgets every socket that is waiting for its client."""
        for namespace in self.namespaces.values():
            for socket in namespace.absent:
                self.forget(socket)


async def _guard(work: Awaitable[None], socket: Socket) -> None:
    """Runs a handler; what it raises is logged, and ends nothing."""
    try:
        await work
    except DisconnectedError:
        logger.debug("A handler of %r ended with its client", socket)
    except Exception:
        logger.exception("A handler of %r failed", socket)


async def _say_goodbye(socket: Socket, reason: str) -> None:
    # What the client sent before it went is handled before.
    if socket.worker is not None:
        await asyncio.wait([socket.worker])
    await _guard(socket.namespace.on_disconnect(socket, reason), socket)


async def _forgotten(socket: Socket) -> None:
    farewell, socket.farewell = socket.farewell, None
    if farewell is not None:
        await asyncio.wait([farewell])
    await _guard(socket.namespace.on_forget(socket), socket)


class SocketIOHandler:
    """One client's connection and its sockets, by namespace; a socket's `Line`."""

    __slots__ = (
        "_app",
        "_client",
        "_connecting",
        "_connection",
        "_loop",
        "_running",
        "_sockets",
    )

    def __init__(self, app: SocketIO, client: Peer) -> None:
        self._app = app
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(self._loop.time(), app.options.limits)
        self._sockets: dict[str, Socket] = {}
        self._connecting: dict[str, asyncio.Task[None]] = {}
        self._running = 0

    # What the client's session tells.

    @property
    def next_deadline(self) -> float | None:
        """When the connection wants to be looked at."""
        return self._connection.next_deadline

    def tick(self, now: float) -> None:
        """Closes a client that takes too long."""
        try:
            self._connection.tick(now)
        except ProtocolError as error:
            self._fail(error, CloseReason.FORCED_CLOSE)

    def receive(self, message: str | bytes) -> None:
        """Takes in one message."""
        try:
            event = self._connection.receive_message(message, self._loop.time())
        except PacketError as error:
            self._fail(error, CloseReason.PARSE_ERROR)
        except ProtocolError as error:
            self._fail(error, CloseReason.FORCED_CLOSE)
        else:
            if event is not None:
                self._handle(event)

    def _fail(self, error: ProtocolError, reason: CloseReason) -> None:
        logger.warning("Closing a connection: %s", error)
        self._client.close(reason)

    def confirmed(self, count: int) -> None:
        """Lets go of what was kept for a recovery and has arrived."""
        for socket in self._sockets.values():
            if socket.replay is not None:
                socket.replay.confirm(count)

    def closed(self, reason: CloseReason) -> None:
        """Called when the session has ended."""
        for task in self._connecting.values():
            task.cancel()
        for socket in list(self._sockets.values()):
            self._detach(socket, reason.value, recoverable=reason in RECOVERABLE)

    def _handle(self, event: Event) -> None:
        match event:
            case ConnectRequested():
                self._connect(event)
            case EventReceived():
                self._enqueue(event)
            case AckReceived(namespace, ack_id, args):
                self._sockets[namespace].resolve(ack_id, args)
            case DisconnectReceived(namespace):
                self._detach(self._sockets[namespace], CLIENT_LEFT, recoverable=False)

    # Joining.

    def _connect(self, event: ConnectRequested) -> None:
        namespace = self._app.namespaces.get(event.namespace)
        if namespace is None:
            self.send([self._connection.refuse(event.namespace, "Invalid namespace")])
            return
        task = self._loop.create_task(self._join(namespace, event.auth))
        self._connecting[namespace.name] = task
        task.add_done_callback(lambda done: self._joined(namespace.name, done))

    def _joined(self, name: str, task: asyncio.Task[None]) -> None:
        self._connecting.pop(name, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("Joining %s failed", name, exc_info=error)
            if self._client.session.is_open:
                self.send([self._connection.refuse(name, "Internal server error")])

    async def _join(self, namespace: Namespace, auth: dict[str, Any]) -> None:
        if await self._recover(namespace, auth):
            return
        window = self._app.options.recovery_window_s
        socket = Socket(
            namespace,
            secrets.token_urlsafe(ID_RANDOM_BYTES),
            auth,
            self._client.handshake,
            self,
            secrets.token_urlsafe(ID_RANDOM_BYTES) if window else None,
        )
        namespace.register(socket)
        try:
            await namespace.on_connect(socket)
        except BaseException as error:
            namespace.unregister(socket)
            socket.end_tasks()
            if not isinstance(error, ConnectionRefused):
                raise
            refusal = (namespace.name, error.message, error.data)
            self.send([self._connection.refuse(*refusal)])
        else:
            self._let_in(socket)

    def _let_in(self, socket: Socket) -> None:
        name = socket.namespace.name
        self._sockets[name] = socket
        self.send([self._connection.accept(name, socket.id, socket.pid)])
        socket.admit()
        self._app.run(_guard(socket.namespace.on_joined(socket), socket))

    async def _recover(self, namespace: Namespace, auth: dict[str, Any]) -> bool:
        """Gives a client that was here before its socket back, and what it missed."""
        pid, offset = auth.get("pid"), auth.get("offset")
        if not isinstance(pid, str) or not isinstance(offset, str | None):
            return False
        socket = namespace.find_by_pid(pid)
        if socket is None or not await namespace.on_recover(socket, auth):
            return False
        if namespace.find_by_pid(pid) is not socket or socket.replay is None:
            return False
        seen = socket.replay.find(offset)
        if seen is None:
            return False
        if socket.line is not None:
            # The client is back before its old connection was found dead.
            socket.line.close()
        if not socket.is_absent:
            return False
        socket.replay.release(seen)
        self._attach(socket, auth)
        return True

    def _attach(self, socket: Socket, auth: dict[str, Any]) -> None:
        assert socket.expiry is not None
        socket.expiry.cancel()
        socket.expiry = None
        socket.line = self
        socket.handshake = self._client.handshake
        socket.auth = auth
        socket.recovered = True
        self._let_in(socket)

    # Events.

    def _enqueue(self, event: EventReceived) -> None:
        socket = self._sockets[event.namespace]
        ack = None if event.ack_id is None else Ack(socket, event.ack_id)
        queued = (event.name, event.args, ack)
        if not socket.namespace.serial:
            self._start(socket, queued)
            return
        if socket.events is None:
            socket.events = deque()
        if len(socket.events) >= MAX_WAITING_EVENTS:
            self._fail(ProtocolError("too many events wait"), CloseReason.FORCED_CLOSE)
            return
        socket.events.append(queued)
        if socket.worker is None:
            socket.worker = self._app.run(_work(socket))

    def _start(self, socket: Socket, queued: QueuedEvent) -> None:
        """Starts a handler that those behind it need not wait for."""
        if self._running >= MAX_RUNNING_EVENTS:
            self._fail(ProtocolError("too many events run"), CloseReason.FORCED_CLOSE)
            return
        self._running += 1
        task = self._app.run(_guard(_run_event(socket, *queued), socket))
        task.add_done_callback(self._ran)

    def _ran(self, task: asyncio.Task[None]) -> None:
        self._running -= 1

    # Leaving.

    def _detach(self, socket: Socket, reason: str, *, recoverable: bool) -> None:
        self._sockets.pop(socket.namespace.name, None)
        window = self._app.options.recovery_window_s
        socket.detach()
        socket.farewell = self._app.run(_say_goodbye(socket, reason))
        if recoverable and window:
            socket.expiry = self._loop.call_later(window, self._app.forget, socket)
        else:
            self._app.forget(socket)

    # What a socket asks of its line.

    @property
    def writable(self) -> bool:
        """False while the client lags."""
        return self._client.writable

    @property
    def transport(self) -> str:
        """The present transport's name."""
        return self._client.session.transport

    @property
    def queued(self) -> int:
        """How many messages were ever queued for the client."""
        return self._client.session._outbox._queued.messages

    def send(self, messages: list[str | bytes]) -> None:
        """Queues messages that belong together."""
        self._client.send(messages)

    async def drain(self) -> None:
        """Returns when the client has caught up, or is gone."""
        await self._client.drain()

    def expel(self, socket: Socket, *, close: bool) -> None:
        """Makes the client leave the namespace, or every one and the connection."""
        for member in list(self._sockets.values()) if close else [socket]:
            if self._sockets.get(member.namespace.name) is member:
                self.send([self._connection.expel(member.namespace.name)])
                member.events = None
                self._detach(member, SERVER_EXPELLED, recoverable=False)
        if close:
            self._client.close()

    def close(self) -> None:
        """Closes the connection; the client will come back by itself."""
        self._client.close()


async def _work(socket: Socket) -> None:
    """Handles a socket's events, one after another, until none waits."""
    try:
        while socket.events:
            await _guard(_run_event(socket, *socket.events.popleft()), socket)
    finally:
        socket.worker = None


async def _run_event(
    socket: Socket, name: Any, args: tuple[Any, ...], ack: Ack | None
) -> None:
    namespace = socket.namespace
    if not await namespace.on_event(socket, name, args, ack):
        return
    handler = namespace.handler(name, len(args))
    if handler is not None:
        await handler(socket, *args, ack=ack)
