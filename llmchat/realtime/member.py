"""One socket as the dispatcher keeps it: its events, its recovery, its end.

Applications work with a `Socket`. Each socket has one `Member` here, which the
application never sees.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any, NamedTuple, Protocol

from .event_queue import Events, guard
from .namespaces import Namespace
from .outlet import Line, Outlet, SocketState
from .request import Handshake
from .socketio.events import EventReceived
from .sockets import Socket
from .tasks import Tasks


class MemberRegistry(Protocol):
    """What a member needs from the registry of all members."""

    @property
    def window_s(self) -> float:
        """Return how long a client may stay away."""

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a handler as a task."""

    def grant(self, member: Member) -> None:
        """Give a member another `pid`."""

    def forget_former(self, member: Member) -> None:
        """Invalidate the `pid` that a member had before."""

    def forget(self, member: Member) -> None:
        """End a member whose client cannot come back."""

    def move(self, member: Member, worker: str) -> None:
        """Let go of a member that another worker has now."""

    def dismiss(self, member: Member) -> None:
        """End a member without notifying the application."""


class Return(NamedTuple):
    """A client's return: when, and the number of the last event that it had then."""

    at: float = 0.0
    seen: int = 0


class Ids(NamedTuple):
    """What a client knows its socket by: `pid` is the secret with which it returns."""

    sid: str
    pid: str | None


class Member:
    """One socket: the events that wait, the task that handles them, its timers."""

    __slots__ = (
        "_disconnecting",
        "_events",
        "_expiry",
        "_joining",
        "_members",
        "_tasks",
        "former_pid",
        "made_at",
        "namespace",
        "outlet",
        "pid",
        "returned",
        "socket",
    )

    def __init__(
        self,
        members: MemberRegistry,
        namespace: Namespace,
        auth: dict[str, Any],
        handshake: Handshake,
        line: Line | None,
        ids: Ids,
    ) -> None:
        recoverable = bool(members.window_s)
        self.pid = ids.pid
        # The `pid` before it, until the client is known to have the new one.
        self.former_pid: str | None = None
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
            ids.sid,
            auth,
            handshake,
            self.outlet,
            self._tasks,
        )
        self._members = members
        self._events = Events(namespace, self.socket, self.outlet, members.run)
        # When it was recreated because its worker was gone; 0.0: it was not.
        self.made_at = 0.0
        # Its client's latest return to it.
        self.returned = Return()
        self._expiry: asyncio.TimerHandle | None = None
        self._disconnecting: asyncio.Task[None] | None = None
        self._joining = 0  # how many `on_joined` have not ended

    @property
    def is_absent(self) -> bool:
        """Return whether the client is disconnected and may come back."""
        return self.outlet.state is SocketState.ABSENT

    @property
    def kept_bytes(self) -> int:
        """Return the size of the events that its client may have missed."""
        replay = self.outlet.replay
        return 0 if replay is None else replay.size

    @property
    def pids(self) -> list[str]:
        """Return the `pid`s with which its client may come back."""
        return [pid for pid in (self.pid, self.former_pid) if pid is not None]

    def receive(self, received: EventReceived) -> bool:
        """Queue an event, or start its handler. False: there are too many."""
        return self._events.receive(received)

    # Joining and recovery.

    def admit(self) -> None:
        """Let the client in; what it is sent may end its connection or membership."""
        self.outlet.admit()
        if self.outlet.state is not SocketState.JOINED:
            return
        self._joining += 1
        joining = self._members.run(self._join(self._disconnecting))
        joining.add_done_callback(self._on_joined)

    async def _join(self, disconnecting: asyncio.Task[None] | None) -> None:
        # A client may return before its old connection was found dead. That one ends
        # only now, and its `on_disconnect` runs first.
        if disconnecting is not None:
            await asyncio.wait([disconnecting])
        await guard(self.socket, self.namespace.on_joined(self.socket))

    def _on_joined(self, task: asyncio.Task[None]) -> None:
        self._joining -= 1

    def release(self, pid: str, seen: int) -> bool:
        """Detach it for its returning client, which has the events up to `seen`.

        False: the client cannot take it up. If it is known to have more than `seen`,
        it must have given up the connection by which it returns.

        If the client returned before its old connection was found dead, that one is
        closed. A client that missed more than was kept gets another `pid`, by which it
        knows that. If it never received the answer with that `pid`, it returns with the
        former one and gets it again.
        """
        replay = self.outlet.replay
        if replay is None or not replay.knows(seen) or seen < replay.confirmed:
            return False
        if self.outlet.line is not None:
            self.outlet.line.close()
        if not self.is_absent:
            return False
        is_by_former = pid == self.former_pid
        if not is_by_former:
            self._members.forget_former(self)
        if not replay.covers(seen):
            self.outlet.shed()
            if not is_by_former:
                self._members.grant(self)
        replay.confirm(seen)
        self._stop_expiry()
        return True

    def confirm(self, number: int) -> None:
        """Note that the client has the answer that let it in, and thus its `pid`."""
        self._members.forget_former(self)

    def attach(self, line: Line, auth: dict[str, Any], handshake: Handshake) -> None:
        """Attach it to the connection with which its client came back."""
        self.outlet.attach(line)
        self.socket.auth = auth
        self.socket.handshake = handshake
        self.socket.recovered = True
        if self.outlet.replay is not None:
            self.returned = Return(time.time(), self.outlet.replay.confirmed)

    def has_served_since(self, moment: float) -> bool:
        """Return whether its client has come back since then, and received events."""
        replay, returned = self.outlet.replay, self.returned
        is_back = returned.at > moment
        return is_back and replay is not None and replay.confirmed > returned.seen

    # Another worker.

    @property
    def is_at_rest(self) -> bool:
        """Return whether nothing is at work on it, so that it may move."""
        disconnecting = self._disconnecting
        return (
            (disconnecting is None or disconnecting.done())
            and not self._joining
            and not self._tasks
            and self._events.is_at_rest
            and self.outlet.is_at_rest
            and self.namespace.may_move(self.socket)
        )

    def hand_over(self, worker: str) -> dict[str, Any] | None:
        """Return what `take_over` needs on that worker; here the member ends silently.

        None: the application, when asked for its part, made the client leave.
        """
        socket = self.socket
        data = self.namespace.move_out(socket, worker)
        if self.outlet.state is SocketState.GONE:
            return None
        replay = self.outlet.replay
        state = {
            "id": socket.id,
            "pid": self.pid,
            "former_pid": self.former_pid,
            "auth": json.dumps(socket.auth),
            "recovered": socket.recovered,
            "made_at": self.made_at,
            "returned": list(self.returned),
            "before": 0 if replay is None else replay.before,
            "confirmed": 0 if replay is None else replay.confirmed,
            "rooms": [room for room in socket.rooms if room != socket.id],
            "data": data,
            "outlet": self.outlet.hand_over(),
        }
        self._members.move(self, worker)
        return state

    def let_go(self, worker: str) -> bool | None:
        """End it, since that worker has recreated its socket.

        `move_out` keeps the answers that it hears going, so that they can be heard
        there; its result is not needed. None: something is at work on the member.
        """
        if not (self.is_absent and self.is_at_rest):
            return None
        self.namespace.move_out(self.socket, worker)
        self._members.dismiss(self)
        return True

    def take_over(self, state: dict[str, Any]) -> None:
        """Continue where the member of another worker stopped."""
        socket = self.socket
        self.outlet.take_over(state["outlet"])
        socket.recovered = state["recovered"]
        self.made_at = state["made_at"]
        # A worker of another version might not send these.
        self.returned = Return(*state.get("returned", ()))
        if self.outlet.replay is not None:
            self.outlet.replay.before = state.get("before", 0)
            self.outlet.replay.confirmed = state.get("confirmed", 0)
        for room in state["rooms"]:
            socket.join(room)

    def move_in(self, state: dict[str, Any]) -> None:
        """Let the application take over its part; it may emit."""
        self.namespace.move_in(self.socket, state["data"])

    # The end.

    def drop_events(self) -> None:
        """Drop the events that wait."""
        self._events.drop()

    def detach(self, reason: str, *, recoverable: bool) -> None:
        """Handle the loss of the connection, or the end of the membership."""
        window_s = self._members.window_s
        forget = partial(self._members.forget, self)
        may_return = recoverable and bool(window_s) and not self.outlet.is_leaving
        self.outlet.detach(forget if may_return else None)
        work = self._disconnect(reason, self._disconnecting)
        self._disconnecting = self._members.run(work)
        if may_return:
            self.wait_for_client()
        else:
            self._members.forget(self)

    def wait_without_connection(self) -> None:
        """Wait for the client of a worker that has stopped."""
        self.outlet.detach(partial(self._members.forget, self))
        self.wait_for_client()

    def wait_for_client(self) -> None:
        """Let the client come back within the window, and no later."""
        if self.is_absent:
            self._stop_expiry()
            loop = asyncio.get_running_loop()
            forget = partial(self._members.forget, self)
            self._expiry = loop.call_later(self._members.window_s, forget)

    async def _disconnect(
        self, reason: str, previous: asyncio.Task[None] | None
    ) -> None:
        # What the client sent before it disconnected is handled first.
        for task in (previous, self._events.worker):
            if task is not None:
                await asyncio.wait([task])
        await guard(self.socket, self.namespace.on_disconnect(self.socket, reason))

    def end(self) -> None:
        """Stop all that belongs to the socket: it was not let in, or is forgotten."""
        self._stop_expiry()
        if self.outlet.state is not SocketState.GONE:
            self.outlet.detach()
        self._tasks.cancel()

    async def forgotten(self) -> None:
        """Run `on_forget`, after `on_disconnect`."""
        disconnecting, self._disconnecting = self._disconnecting, None
        if disconnecting is not None:
            await asyncio.wait([disconnecting])
        await guard(self.socket, self.namespace.on_forget(self.socket))

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
