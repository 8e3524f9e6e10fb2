"""All sockets of one application, and what their clients may come back by."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from .member import Ids, Member
from .namespaces import Namespace
from .outlet import Line
from .request import Handshake
from .tasks import Tasks

ID_RANDOM_BYTES = 15
# Of those that went to other workers, the last ones are remembered.
MAX_MOVED = 20_000


def make_id() -> str:
    """Return an id that cannot be guessed."""
    return secrets.token_urlsafe(ID_RANDOM_BYTES)


Fetch = Callable[[Namespace, dict[str, Any]], Awaitable[dict[str, Any] | None]]


class Members:
    """All members of one application."""

    def __init__(self, window_s: float) -> None:
        """`window_s`: how long a client may stay away; 0 switches recovery off."""
        self.window_s = window_s
        self._by_pid: dict[str, Member] = {}
        self._moved: OrderedDict[str, str] = OrderedDict()
        self._tasks = Tasks()
        # How the address of this worker begins the `pid`s that it gives, and what
        # returns the state of a socket that another worker had.
        self.address = ""
        self.fetch: Fetch | None = None

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
        ids = Ids(make_id(), self._make_pid())
        return self._add(Member(self, namespace, auth, handshake, line, ids))

    def take_over(
        self,
        namespace: Namespace,
        state: dict[str, Any],
        handshake: Handshake,
        line: Line,
    ) -> Member:
        """Make the member that another worker has handed over."""
        pid = state["pid"] or self._make_pid()
        ids = Ids(state["id"], pid)
        auth = json.loads(state["auth"])
        member = Member(self, namespace, auth, handshake, line, ids)
        self._moved.pop(pid, None)
        self._add(member)
        member.take_over(state)
        return member

    def _add(self, member: Member) -> Member:
        member.namespace.register(member.socket)
        if member.pid is not None:
            self._by_pid[member.pid] = member
        return member

    def _make_pid(self) -> str:
        return self.address + make_id()

    def rename(self, member: Member) -> None:
        """Give a member another `pid`."""
        if member.pid is not None:
            del self._by_pid[member.pid]
        member.pid = self._make_pid()
        self._by_pid[member.pid] = member

    def move(self, member: Member, worker: str) -> None:
        """Let go of a member that another worker has now, and note where it is."""
        self.dismiss(member)
        if member.pid is not None:
            self._moved[member.pid] = worker
            while len(self._moved) > MAX_MOVED:
                self._moved.popitem(last=False)

    def moved_to(self, pid: str) -> str | None:
        """Return the worker that a member has moved to; None: it has not."""
        return self._moved.get(pid)

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
