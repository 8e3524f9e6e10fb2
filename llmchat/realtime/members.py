"""The sockets as the dispatcher keeps them: their events, their recovery, their end.

What an application has in hand is a `Socket`. For each of them there is one `Member`
here that the application never sees.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Coroutine
from typing import Any, NamedTuple

from .namespaces import Namespace
from .outlet import DisconnectedError, Line, Outlet, Standing
from .request import Handshake
from .socketio.events import EventReceived
from .sockets import Ack, Socket
from .tasks import Tasks
from .turns import Pace

logger = logging.getLogger(__name__)

ID_RANDOM_BYTES = 15

# Events of one socket that wait for those before them, or, where handlers need not
# wait for one another, that run.
MAX_WAITING_EVENTS = 20_000
MAX_RUNNING_EVENTS = 1_000
# Of both together; one event may be larger than that.
MAX_WAITING_BYTES = 8 * 1024 * 1024


class QueuedEvent(NamedTuple):
    """An event that waits for its handler."""

    name: Any
    args: tuple[Any, ...]
    ack: Ack | None
    size: int


class Member:
    """One socket: the events that wait, the task that handles them, its timers."""

    __slots__ = (
        "_disconnecting",
        "_events",
        "_expiry",
        "_members",
        "_running",
        "_tasks",
        "_waiting_bytes",
        "_worker",
        "namespace",
        "outlet",
        "pid",
        "socket",
    )

    def __init__(
        self,
        members: Members,
        namespace: Namespace,
        auth: dict[str, Any],
        handshake: Handshake,
        line: Line,
    ) -> None:
        """`pid` is the secret by which the client may come back."""
        recoverable = bool(members.window_s)
        self.pid = secrets.token_urlsafe(ID_RANDOM_BYTES) if recoverable else None
        self.namespace = namespace
        self.outlet = Outlet(namespace.name, line, recoverable=recoverable)
        self._tasks = Tasks()
        self.socket = Socket(
            namespace,
            secrets.token_urlsafe(ID_RANDOM_BYTES),
            auth,
            handshake,
            self.outlet,
            self._tasks,
        )
        self._members = members
        self._events: deque[QueuedEvent] | None = None  # most sockets are idle
        self._worker: asyncio.Task[None] | None = None
        self._running = 0
        self._waiting_bytes = 0
        self._expiry: asyncio.TimerHandle | None = None
        self._disconnecting: asyncio.Task[None] | None = None

    @property
    def is_absent(self) -> bool:
        """Return whether the client is disconnected and may come back."""
        return self.outlet.standing is Standing.ABSENT

    # Events.

    def receive(self, received: EventReceived) -> bool:
        """Queue an event for its handler, or start that. False: there is too much."""
        ack_id = received.ack_id
        ack = None if ack_id is None else Ack(self.outlet, ack_id)
        event = QueuedEvent(received.name, received.args, ack, received.size)
        if self._waiting_bytes and self._waiting_bytes + event.size > MAX_WAITING_BYTES:
            return False
        took = self._enqueue(event) if self.namespace.serial else self._start(event)
        if took:
            self._waiting_bytes += event.size
        return took

    def _enqueue(self, event: QueuedEvent) -> bool:
        if self._events is None:
            self._events = deque()
        if len(self._events) >= MAX_WAITING_EVENTS:
            return False
        self._events.append(event)
        if self._worker is None:
            self._worker = self._members.run(self._work())
        return True

    async def _work(self) -> None:
        """Handle events, one after another, until none waits."""
        pace = Pace()
        try:
            while self._events:
                event = self._events.popleft()
                await self._handle_guarded(event)
                await pace.spend(event.size)
        finally:
            self._worker = None

    def _start(self, event: QueuedEvent) -> bool:
        """Start a handler that those behind it need not wait for."""
        if self._running >= MAX_RUNNING_EVENTS:
            return False
        self._running += 1
        task = self._members.run(self._handle_guarded(event))
        task.add_done_callback(self._on_handled)
        return True

    def _on_handled(self, task: asyncio.Task[None]) -> None:
        self._running -= 1

    async def _handle_guarded(self, event: QueuedEvent) -> None:
        try:
            await self._guard(self._handle(event))
        finally:
            self._waiting_bytes -= event.size

    async def _handle(self, event: QueuedEvent) -> None:
        name, args, ack, _ = event
        if await self.namespace.on_event(self.socket, name, args, ack):
            handler = self.namespace.handler(name, len(args))
            if handler is not None:
                await handler(self.socket, *args, ack=ack)

    async def _guard(self, work: Awaitable[None]) -> None:
        """Run a handler; what it raises is logged, and ends nothing."""
        try:
            await work
        except DisconnectedError:
            logger.debug("A handler of %r ended with its client", self.socket)
        except Exception:
            logger.exception("A handler of %r failed", self.socket)

    # Joining and recovery.

    def admit(self) -> None:
        """Let the client in."""
        self.outlet.admit()
        self._members.run(self._join(self._disconnecting))

    async def _join(self, disconnecting: asyncio.Task[None] | None) -> None:
        # In a takeover the old connection ends only now, and its hook comes first.
        if disconnecting is not None:
            await asyncio.wait([disconnecting])
        await self._guard(self.namespace.on_joined(self.socket))

    def release(self, offset: str | None) -> bool:
        """Detach it for its returning client, which has the events up to `offset`.

        False: the client cannot take it up. A client may return before its old
        connection was found dead; that is closed then.
        """
        replay = self.outlet.replay
        seen = None if replay is None else replay.find(offset)
        if replay is None or seen is None:
            return False
        if self.outlet.line is not None:
            self.outlet.line.close()
        if not self.is_absent:
            return False
        replay.confirm(seen)
        self._stop_expiry()
        return True

    def attach(self, line: Line, auth: dict[str, Any], handshake: Handshake) -> None:
        """Give it to the connection that its client came back with."""
        self.outlet.attach(line)
        self.socket.auth = auth
        self.socket.handshake = handshake
        self.socket.recovered = True

    # The end.

    def drop_events(self) -> None:
        """Drop the events that wait."""
        self._waiting_bytes -= sum(event.size for event in self._events or ())
        self._events = None

    def detach(self, reason: str, *, recoverable: bool) -> None:
        """Follow the loss of the connection, or the end of the membership."""
        window_s = self._members.window_s
        may_return = recoverable and bool(window_s)
        self.outlet.detach(may_return=may_return)
        work = self._disconnect(reason, self._disconnecting)
        self._disconnecting = self._members.run(work)
        if may_return:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(window_s, self._members.forget, self)
        else:
            self._members.forget(self)

    async def _disconnect(
        self, reason: str, previous: asyncio.Task[None] | None
    ) -> None:
        # What the client sent before it disconnected is handled before.
        for task in (previous, self._worker):
            if task is not None:
                await asyncio.wait([task])
        await self._guard(self.namespace.on_disconnect(self.socket, reason))

    def end(self) -> None:
        """Stop what belongs to the socket; it was never let in, or is forgotten."""
        self._stop_expiry()
        if self.outlet.standing is not Standing.GONE:
            self.outlet.detach(may_return=False)
        self._tasks.cancel()

    async def forgotten(self) -> None:
        """Run `on_forget`, behind `on_disconnect`."""
        disconnecting, self._disconnecting = self._disconnecting, None
        if disconnecting is not None:
            await asyncio.wait([disconnecting])
        await self._guard(self.namespace.on_forget(self.socket))

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None


class Members:
    """All members of one application."""

    def __init__(self, window_s: float) -> None:
        """`window_s`: how long a client may stay away; 0 switches recovery off."""
        self.window_s = window_s
        self._by_pid: dict[str, Member] = {}
        self._tasks = Tasks()

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a handler as a task."""
        return self._tasks.run(work)

    def create(
        self,
        namespace: Namespace,
        auth: dict[str, Any],
        handshake: Handshake,
        line: Line,
    ) -> Member:
        """Make the member of a client that asks to join."""
        member = Member(self, namespace, auth, handshake, line)
        namespace.register(member.socket)
        if member.pid is not None:
            self._by_pid[member.pid] = member
        return member

    async def claim(self, namespace: Namespace, auth: dict[str, Any]) -> Member | None:
        """Return the member that a returning client may take up again.

        None: it is to get a new one. The application is asked, and while it answers
        the member may be forgotten or taken by another connection: only `release`,
        behind the last `await`, decides.
        """
        pid, offset = auth.get("pid"), auth.get("offset")
        if not isinstance(pid, str) or not isinstance(offset, str | None):
            return None
        member = self._by_pid.get(pid)
        if member is None or member.namespace is not namespace:
            return None
        if not await namespace.on_recover(member.socket, auth):
            return None
        still_there = self._by_pid.get(pid) is member
        return member if still_there and member.release(offset) else None

    def dismiss(self, member: Member) -> None:
        """End a member that is not let in; the application hears nothing of it."""
        if member.pid is not None:
            self._by_pid.pop(member.pid, None)
        member.namespace.forget(member.socket)
        member.end()

    def forget(self, member: Member) -> None:
        """End a member whose client cannot come back: its rooms, tasks, memory."""
        self.dismiss(member)
        self.run(member.forgotten())

    def shutdown(self) -> None:
        """Forget every member that waits for its client's return."""
        for member in list(self._by_pid.values()):
            if member.is_absent:
                self.forget(member)
