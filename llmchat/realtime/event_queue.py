"""The events of one socket: those that wait, and those that are being handled."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

from .namespaces import Namespace
from .outlet import DisconnectedError, Outlet
from .socketio.events import EventReceived
from .sockets import Ack, Socket
from .turns import Pace

logger = logging.getLogger(__name__)

# How many events of one socket may wait for those before them, or, if the namespace is
# not `serial`, may be handled at the same time.
MAX_WAITING_EVENTS = 20_000
MAX_RUNNING_EVENTS = 1_000
# How much memory either kind may take; a single event may be larger.
MAX_WAITING_BYTES = 8 * 1024 * 1024

Run = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class QueuedEvent(NamedTuple):
    """An event that waits for its handler."""

    name: Any
    args: tuple[Any, ...]
    ack: Ack | None
    size: int


async def guard(socket: Socket, work: Awaitable[None]) -> None:
    """Run a handler; an exception is logged, and ends nothing else."""
    try:
        await work
    except DisconnectedError:
        logger.debug("A handler of %r ended with its client", socket)
    except Exception:
        logger.exception("A handler of %r failed", socket)


class Events:
    """The events that a socket has received and that are not handled yet."""

    __slots__ = (
        "_bytes",
        "_namespace",
        "_outlet",
        "_run",
        "_running",
        "_socket",
        "_waiting",
        "worker",
    )

    def __init__(
        self, namespace: Namespace, socket: Socket, outlet: Outlet, run: Run
    ) -> None:
        """`run` starts a handler as a task; `worker` is the task that works now."""
        self._namespace = namespace
        self._socket = socket
        self._outlet = outlet
        self._run = run
        self._waiting: deque[QueuedEvent] | None = None  # most sockets are idle
        self._running = 0
        self._bytes = 0
        self.worker: asyncio.Task[None] | None = None

    def receive(self, received: EventReceived) -> bool:
        """Queue an event, or start its handler. False: there are too many."""
        ack_id = received.ack_id
        ack = None if ack_id is None else Ack(self._outlet, ack_id)
        event = QueuedEvent(received.name, received.args, ack, received.size)
        if self._bytes and self._bytes + event.size > MAX_WAITING_BYTES:
            return False
        took = self._enqueue(event) if self._namespace.serial else self._start(event)
        if took:
            self._bytes += event.size
            self._socket.events += 1
        return took

    @property
    def is_at_rest(self) -> bool:
        """Return whether no event waits, and none is being handled."""
        return self.worker is None and not self._waiting and not self._running

    def drop(self) -> None:
        """Drop the events that wait."""
        self._bytes -= sum(event.size for event in self._waiting or ())
        self._socket.events -= len(self._waiting or ())
        self._waiting = None

    def _enqueue(self, event: QueuedEvent) -> bool:
        if self._waiting is None:
            self._waiting = deque()
        if len(self._waiting) >= MAX_WAITING_EVENTS:
            return False
        self._waiting.append(event)
        if self.worker is None:
            self.worker = self._run(self._work())
        return True

    async def _work(self) -> None:
        """Handle events, one after another, until none waits."""
        pace = Pace()
        try:
            while self._waiting:
                event = self._waiting.popleft()
                await self._handle(event)
                await pace.spend(event.size)
        finally:
            self.worker = None

    def _start(self, event: QueuedEvent) -> bool:
        """Start a handler that later events need not wait for."""
        if self._running >= MAX_RUNNING_EVENTS:
            return False
        self._running += 1
        self._run(self._handle(event)).add_done_callback(self._on_handled)
        return True

    def _on_handled(self, task: asyncio.Task[None]) -> None:
        self._running -= 1

    async def _handle(self, event: QueuedEvent) -> None:
        try:
            await guard(self._socket, self._pass_on(event))
        finally:
            self._bytes -= event.size
            self._socket.events -= 1

    async def _pass_on(self, event: QueuedEvent) -> None:
        name, args, ack, _ = event
        if await self._namespace.on_event(self._socket, name, args, ack):
            handler = self._namespace.handler(name, len(args))
            if handler is not None:
                await handler(self._socket, *args, ack=ack)
