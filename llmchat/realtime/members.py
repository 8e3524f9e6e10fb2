"""All sockets of one application, and the `pid`s with which clients recover them."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from enum import Enum, auto
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from .member import Ids, Member
from .namespaces import ConnectionRefused, Namespace
from .offsets import Seen, read_offset
from .outlet import Line
from .pids import Claimed, Pids, make_id
from .replay import series_of
from .request import Handshake
from .rest import at_rest
from .sockets import Socket
from .tasks import Tasks

# How many sockets that went to other workers are remembered, the latest ones.
MAX_MOVED = 20_000


class Nowhere(Enum):
    """Why another worker has no state of a socket to hand over."""

    GONE = auto()  # its worker is gone or cannot be asked, or it was lost on the way
    UNKNOWN = auto()  # its worker has ended it, or keeps it


Fetch = Callable[
    [Namespace, dict[str, Any]], Coroutine[Any, Any, dict[str, Any] | Nowhere]
]


def _tell_nobody(pid: str, made_at: float) -> None:
    """Do nothing: a lone worker has no others to notify."""


class Absent(NamedTuple):
    """Sockets that wait for their clients' return, and the bytes kept for them."""

    sockets: int
    size: int


class Members:
    """All members of one application."""

    def __init__(self, window_s: float, pids: Pids | None = None) -> None:
        """`window_s`: how long a client may stay away; 0 switches recovery off."""
        self.window_s = window_s
        self.pids = pids or Pids()
        self._by_pid: dict[str, Member] = {}
        # By `pid`: the worker that a socket went to, and when it was recreated (0.0:
        # never). The worker is "" if the socket ended here, and other workers may still
        # take it for alive.
        self._moved: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._reviving: set[str] = set()
        self._tasks = Tasks()
        self._fetches = Tasks()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # Whether the worker is about to stop, so that clients come back elsewhere.
        self.is_over = False
        # Returns the state of a socket that another worker had.
        self.fetch: Fetch = self._fetch_nothing
        # Tells the other workers that a socket is here now.
        self.announce: Callable[[str, float], None] = _tell_nobody

    @property
    def absent(self) -> Absent:
        """Return how many sockets wait for their clients, counted only now."""
        waiting = self.waiting()
        return Absent(len(waiting), sum(member.kept_bytes for member in waiting))

    def turn_of(self, pid: str) -> asyncio.Lock:
        """Return the lock for bringing a socket here, one connection at a time."""
        return self._turns.setdefault(pid, asyncio.Lock())

    def is_coming(self, pid: str) -> bool:
        """Return whether a connection is currently bringing a socket here."""
        turn = self._turns.get(pid)
        return turn is not None and turn.locked()

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a handler as a task."""
        return self._tasks.run(work)

    def begin_fetch(
        self, namespace: Namespace, auth: dict[str, Any]
    ) -> asyncio.Task[dict[str, Any] | Nowhere]:
        """Fetch a socket of another worker, even if the connection is lost."""
        return self._fetches.run(self.fetch(namespace, auth))

    @property
    def is_fetching(self) -> bool:
        """Return whether a socket is on its way here from another worker."""
        return bool(self._fetches)

    def create(
        self,
        namespace: Namespace,
        auth: dict[str, Any],
        handshake: Handshake,
        line: Line,
    ) -> Member:
        """Make the member of a client that asks to join."""
        ids, offset = Ids(make_id(), None), auth.get("offset")
        member = Member(self, namespace, auth, handshake, line, ids)
        before = read_offset(offset) if isinstance(offset, str) else None
        if before is not None and member.outlet.replay is not None:
            # It hands that offset back until it gets an event from this socket.
            member.outlet.replay.begin_behind(before.number)
        return self._add(member)

    def grant(self, member: Member) -> None:
        """Give a member that is let in another `pid`, or its first.

        The answer that carries it may be lost: then the client uses the former one.
        """
        member.former_pid, member.pid = member.pid, None
        if member.outlet.replay is not None:
            namespace, socket = member.namespace, member.socket
            identity, former = namespace.identity(socket), member.former_pid
            claimed = self.pids.read(former)
            series = claimed.series if claimed else member.outlet.replay.series
            while member.pid in (None, former):  # it must differ, whatever chance says
                member.pid = self.pids.make(namespace.name, socket.id, identity, series)
            self._by_pid[member.pid] = member

    def forget_former(self, member: Member) -> None:
        """Invalidate the `pid` that a member had before."""
        former = member.former_pid
        if former is not None:
            self._note_end(former, member)
            self._unname(former, member)
            member.former_pid = None

    def take_over(
        self,
        namespace: Namespace,
        state: dict[str, Any],
        handshake: Handshake,
        line: Line,
    ) -> Member | None:
        """Make the member that another worker handed over, including `move_in`.

        None: its client has had a later one since.
        """
        member = self.bring(namespace, state, handshake, line)
        if member is not None:
            member.move_in(state)
        return member

    def keep(
        self,
        namespace: Namespace,
        state: dict[str, Any],
        handshake: Handshake,
        sender: str,
    ) -> bool:
        """Keep the member of a worker that stops, until its client comes back.

        False: its client has had a later one since, or may not have it here.
        """
        if self._latest_of(state) >= state["made_at"]:
            return False
        member = self.bring(namespace, state, handshake, None)
        if member is None:
            return False
        member.wait_without_connection()
        try:
            member.move_in(state)
        except BaseException as exc:
            # It is recreated where its client comes: whoever asks here, because this
            # worker issued a `pid`, must learn that the socket had left.
            self.move(member, sender)
            if isinstance(exc, ConnectionRefused):
                return False
            raise
        for pid in member.pids:
            self.announce(pid, member.made_at)
        return True

    def bring(
        self,
        namespace: Namespace,
        state: dict[str, Any],
        handshake: Handshake,
        line: Line | None,
    ) -> Member | None:
        """Make the member that another worker handed over, without `move_in`.

        None: it was so long on its way that its client has had a later one since.
        """
        if self._latest_of(state) > state["made_at"]:
            return None
        ids = Ids(state["id"], state["pid"])
        auth = json.loads(state["auth"])
        member = Member(self, namespace, auth, handshake, line, ids)
        # A worker of another version might not send it.
        member.former_pid = state.get("former_pid")
        for pid in member.pids:
            self._drop_other(pid, self.pids.address)
            self._moved.pop(pid, None)
        self._add(member)
        member.take_over(state)
        return member

    def _latest_of(self, state: dict[str, Any]) -> float:
        """Return when the latest known socket of the client of a state was recreated.

        That one is here, or was, or its worker has told the others.
        """
        return max(map(self._made_at, (state["pid"], state.get("former_pid"))))

    def _made_at(self, pid: str | None) -> float:
        """Return when the latest socket of a `pid` that is known was recreated."""
        if pid is None:
            return 0.0
        member = self._by_pid.get(pid)
        return self._moved.get(pid, ("", 0.0))[1] if member is None else member.made_at

    def next_time(self, pids: Iterable[str]) -> float:
        """Return the time for a socket that is later than all others of these `pid`s.

        Clocks differ: it is later than every one that is known, whatever they say.
        """
        return max(time.time(), self.just_later(pids))

    def just_later(self, pids: Iterable[str]) -> float:
        """Return the earliest time that is later than all that are known of these."""
        return math.nextafter(max(map(self._made_at, pids)), math.inf)

    def _add(self, member: Member) -> Member:
        member.namespace.register(member.socket)
        for pid in member.pids:
            self._by_pid[pid] = member
        return member

    def move(self, member: Member, worker: str) -> None:
        """Let go of a member that another worker has now, and note where it is."""
        self.dismiss(member)
        for pid in member.pids:
            self.note_moved(pid, worker, member.made_at)

    def note_moved(self, pid: str, worker: str, made_at: float) -> None:
        """Note which worker has a socket, and when that was recreated."""
        self._moved[pid] = worker, made_at
        self._moved.move_to_end(pid)
        while len(self._moved) > MAX_MOVED:
            self._moved.popitem(last=False)

    def moved_to(self, pid: str) -> str | None:
        """Return the worker that a member has moved to; None: it has not."""
        moved = None if pid in self._by_pid else self._moved.get(pid)
        return None if moved is None else moved[0]

    def is_behind(self, auth: dict[str, Any]) -> bool:
        """Return whether a client has had its socket elsewhere since it was here.

        There the client got events of which the member left here knows nothing.
        """
        pid, offset = auth.get("pid"), auth.get("offset")
        member = self._by_pid.get(pid) if isinstance(pid, str) else None
        if member is None or not isinstance(offset, str):
            return False
        replay, seen = member.outlet.replay, self._seen(pid, offset)
        return not (replay is None or seen is None or replay.knows(seen.number))

    def has(self, member: Member) -> bool:
        """Return whether a client that comes back would find this member."""
        return any(self._by_pid.get(pid) is member for pid in member.pids)

    def serves(self, auth: dict[str, Any]) -> bool:
        """Return whether a client's socket is here, and is not behind the client."""
        return auth["pid"] in self._by_pid and not self.is_behind(auth)

    def _seen(self, pid: object, offset: str | None) -> Seen | None:
        """Return what a client has of a socket; None: the offset is invalid.

        The offset may be from a former socket: then the client has nothing of this one.
        """
        seen = read_offset(offset)
        if seen is not None and self._is_of_former(pid, seen):
            return Seen(0, {})
        return seen

    def _is_of_former(self, pid: object, seen: Seen) -> bool:
        claimed = self.pids.read(pid)
        return claimed is not None and series_of(seen.number) < claimed.series

    def is_lost(self, pid: str) -> bool:
        """Return whether a socket from another worker never arrived here."""
        claimed = self.pids.read(pid)
        is_known = pid in self._by_pid or pid in self._moved
        return not is_known and claimed is not None and not self._is_mine(claimed)

    def _is_mine(self, claimed: Claimed) -> bool:
        return claimed.address == self.pids.address

    async def claim(self, namespace: Namespace, auth: dict[str, Any]) -> Member | None:
        """Return the member that a returning client may take up again.

        None: it gets a new one. While the application is asked, the member may be
        forgotten or taken by another connection, so only `release`, after the last
        `await`, decides.
        """
        pid, offset = auth.get("pid"), auth.get("offset")
        if not isinstance(pid, str) or not isinstance(offset, str | None):
            return None
        seen = self._seen(pid, offset)
        member = self._by_pid.get(pid)
        if seen is None or member is None or member.namespace is not namespace:
            return None
        if not await namespace.on_recover(member.socket, auth):
            return None
        if self._by_pid.get(pid) is not member:
            # Its session may have brought a later one meanwhile.
            return await self.claim(namespace, auth)
        return member if member.release(pid, seen.number) else None

    async def _fetch_nothing(
        self, namespace: Namespace, auth: dict[str, Any]
    ) -> Nowhere:
        """Return what became of a socket, for a worker that has no others."""
        claimed = self.pids.read(auth.get("pid"))
        is_mine = claimed is None or self._is_mine(claimed)
        return Nowhere.UNKNOWN if is_mine else Nowhere.GONE

    async def revive(
        self,
        namespace: Namespace,
        auth: dict[str, Any],
        handshake: Handshake,
        line: Line,
    ) -> Member | None:
        """Recreate a socket that no worker can hand over, if its client may have it.

        The application has to send what the client missed.
        """
        pid, offset = auth.get("pid"), auth.get("offset")
        claimed = self.pids.read(pid)
        if claimed is None or not isinstance(offset, str | None):
            return None
        seen = read_offset(offset)
        ids = Ids(claimed.socket_id, None)
        member = Member(self, namespace, auth, handshake, line, ids)
        if seen is None or member.outlet.replay is None:
            return None
        if seen.marks is None or self._is_of_former(pid, seen):
            # The client's positions in the logs that it was being sent are unknown.
            return None
        if self.serves(auth):
            # The socket is here, and its client was not allowed to take it up. So the
            # client must not get it by recreating it.
            return None
        # Before the application can emit: no worker has sent events with such numbers.
        member.outlet.replay.begin_at(seen.number)
        if str(pid) in self._reviving:
            # Another connection is recreating it.
            return None
        self._reviving.add(str(pid))
        try:
            if not await self._is_of(member, auth, seen.marks):
                return None
        finally:
            self._reviving.discard(str(pid))
        # With the same `pid`, its client considers it the same socket.
        member.pid = str(pid)
        member.made_at = self.next_time([member.pid])
        self._drop_other(member.pid, self.pids.address)
        self._moved.pop(member.pid, None)
        self._add(member)
        namespace.revived(member.socket, seen.marks)
        self.announce(member.pid, member.made_at)
        return member

    async def _is_of(
        self, member: Member, auth: dict[str, Any], marks: Mapping[str, int]
    ) -> bool:
        """Return whether a recreated socket is its client's, and is let in.

        It is not if the client's socket arrives here meanwhile.
        """
        namespace, is_let_in = member.namespace, False
        before = namespace.find(member.socket.id)
        namespace.register(member.socket)
        try:
            if await namespace.on_revive(member.socket, marks):
                identity = namespace.identity(member.socket)
                is_theirs = self.pids.is_for(auth["pid"], namespace.name, identity)
                is_let_in = is_theirs and not self.serves(auth)
        finally:
            if not is_let_in:
                self._turn_away(member, before)
        return is_let_in

    def _turn_away(self, member: Member, before: Socket | None) -> None:
        """End a member that is not its client's; put back the socket it replaced."""
        self.dismiss(member)
        if before is None or member.namespace.find(before.id) is not None:
            return  # another one has arrived in its place
        if before.connected or before.is_absent:
            member.namespace.register(before)

    def _drop_other(self, pid: str, worker: str) -> None:
        """Give up what is left here of a socket that `worker` has by now."""
        member = self._by_pid.get(pid)
        if member is not None:
            for name in member.pids:
                self._unname(name, member)
            if member.outlet.line is not None:
                member.outlet.line.close()
            # A member that does not come to rest is forgotten when its window is over.
            self._tasks.run(at_rest(lambda: member.let_go(worker)))

    def revived_at(self, pid: str, worker: str, made_at: float) -> Member | None:
        """Note that a socket was recreated on another worker.

        Return the member that was left of it here: its client has been elsewhere, and
        must not find it again. If two workers recreated the socket at the same time,
        this lets both of them conclude that the later one has it. The notice may be so
        late that the client is back, and has received events here that the other
        worker does not know: then it is that worker which is notified.
        """
        member = self._by_pid.get(pid)
        if member is not None:
            # With an equal time, it is that very socket, which has moved here since.
            if member.made_at >= made_at:
                return None
            if member.has_served_since(made_at):
                member.made_at = member.returned.at
                self.announce(pid, member.made_at)
                return None
            self._drop_other(pid, worker)
        # The `pid` names another worker, which is gone. A late notice about a socket
        # that has since moved on through this worker is ignored.
        if member is not None or made_at > self._moved.get(pid, ("", 0.0))[1]:
            self.note_moved(pid, worker, made_at)
        return member

    def dismiss(self, member: Member) -> None:
        """End a member without notifying the application."""
        for pid in member.pids:
            self._unname(pid, member)
        member.namespace.forget(member.socket)
        member.end()

    def forget(self, member: Member) -> None:
        """End a member whose client cannot come back: its rooms, tasks, memory."""
        for pid in member.pids:
            self._note_end(pid, member)
        self.dismiss(member)
        self.run(member.forgotten())

    def _unname(self, pid: str, member: Member) -> None:
        if self._by_pid.get(pid) is member:
            del self._by_pid[pid]

    def _note_end(self, pid: str, member: Member) -> None:
        """Note that a `pid` no longer leads to a socket.

        If another worker issued it, the other workers may believe the socket is here.
        If it was recreated, its worker may announce it again.
        """
        if self._by_pid.get(pid) is not member:
            return
        claimed = self.pids.read(pid)
        if claimed is not None and (member.made_at or not self._is_mine(claimed)):
            self.note_moved(pid, "", member.made_at)

    def waiting(self) -> list[Member]:
        """Return the members that wait for their clients' return."""
        members = dict.fromkeys(self._by_pid.values())
        return [member for member in members if member.is_absent]

    def shutdown(self) -> None:
        """Forget every member that waits for its client's return; fetch no more.

        What has not left its worker yet stays there.
        """
        self.is_over = True
        self._fetches.cancel()
        for member in self.waiting():
            self.forget(member)
