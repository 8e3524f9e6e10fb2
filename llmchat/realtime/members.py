"""The sockets as the dispatcher keeps them: their events, their recovery, their end.

What an application has in hand is a `Socket`. For each of them there is one `Member`
here that the application never sees.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from functools import partial
from typing import Any

from .event_queue import Events, guard
from .namespaces import Namespace
from .outlet import Line, Outlet, Standing
from .request import Handshake
from .socketio.events import EventReceived
from .sockets import Socket
from .tasks import Tasks

ID_RANDOM_BYTES = 15


def make_id() -> str:
    """Return an id that cannot be guessed."""
    return secrets.token_urlsafe(ID_RANDOM_BYTES)


class Member:
    """One socket: the events that wait, the task that handles them, its timers."""

    __slots__ = (
        "_disconnecting",
        "_events",
        "_expiry",
        "_members",
        "_tasks",
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
        self.pid = make_id() if recoverable else None
        self.namespace = namespace
        self.outlet = Outlet(
            namespace.name,
            line,
            recoverable=recoverable,
            vital=namespace.vital,
            shorten=namespace.shorten,
        )
        self._tasks = Tasks()
        self.socket = Socket(
            namespace,
            make_id(),
            auth,
            handshake,
            self.outlet,
            self._tasks,
        )
        self._members = members
        self._events = Events(namespace, self.socket, self.outlet, members.run)
        self._expiry: asyncio.TimerHandle | None = None
        self._disconnecting: asyncio.Task[None] | None = None

    @property
    def is_absent(self) -> bool:
        """Return whether the client is disconnected and may come back."""
        return self.outlet.standing is Standing.ABSENT

    def receive(self, received: EventReceived) -> bool:
        """Queue an event for its handler, or start that. False: there is too much."""
        return self._events.receive(received)

    # Joining and recovery.

    def admit(self) -> None:
        """Let the client in."""
        self.outlet.admit()
        self._members.run(self._join(self._disconnecting))

    async def _join(self, disconnecting: asyncio.Task[None] | None) -> None:
        # In a takeover the old connection ends only now, and its hook comes first.
        if disconnecting is not None:
            await asyncio.wait([disconnecting])
        await guard(self.socket, self.namespace.on_joined(self.socket))

    def release(self, offset: str | None) -> bool:
        """Detach it for its returning client, which has the events up to `offset`.

        False: the client cannot take it up. A client may return before its old
        connection was found dead; that is closed then. One that has missed more than
        was kept gets another `pid`, by which it knows that.
        """
        replay = self.outlet.replay
        seen = None if replay is None else replay.find(offset)
        if replay is None or seen is None:
            return False
        if self.outlet.line is not None:
            self.outlet.line.close()
        if not self.is_absent:
            return False
        if not replay.covers(seen):
            self.outlet.shed()
            self._members.rename(self)
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
        self._events.drop()

    def detach(self, reason: str, *, recoverable: bool) -> None:
        """Follow the loss of the connection, or the end of the membership."""
        window_s = self._members.window_s
        forget = partial(self._members.forget, self)
        may_return = recoverable and bool(window_s)
        self.outlet.detach(forget if may_return else None)
        work = self._disconnect(reason, self._disconnecting)
        self._disconnecting = self._members.run(work)
        if may_return:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(window_s, forget)
        else:
            self._members.forget(self)

    async def _disconnect(
        self, reason: str, previous: asyncio.Task[None] | None
    ) -> None:
        # What the client sent before it disconnected is handled before.
        for task in (previous, self._events.worker):
            if task is not None:
                await asyncio.wait([task])
        await guard(self.socket, self.namespace.on_disconnect(self.socket, reason))

    def end(self) -> None:
        """Stop what belongs to the socket; it was never let in, or is forgotten."""
        self._stop_expiry()
        if self.outlet.standing is not Standing.GONE:
            self.outlet.detach()
        self._tasks.cancel()

    async def forgotten(self) -> None:
        """Run `on_forget`, behind `on_disconnect`."""
        disconnecting, self._disconnecting = self._disconnecting, None
        if disconnecting is not None:
            await asyncio.wait([disconnecting])
        await guard(self.socket, self.namespace.on_forget(self.socket))

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

    def rename(self, member: Member) -> None:
        """Give a member another `pid`."""
        if member.pid is not None:
            del self._by_pid[member.pid]
        member.pid = make_id()
        self._by_pid[member.pid] = member

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
