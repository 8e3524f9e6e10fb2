"""Sockets that their clients claim on another worker than the one that has them.

A `pid` begins with the worker that has given it. Where a socket has moved on, that
worker knows where to.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from llmchat.realtime.member import Member
from llmchat.realtime.members import Members, Nowhere
from llmchat.realtime.namespaces import Namespace
from llmchat.workers import GoneError, Mailbox, UnreachableError
from llmchat.workers.address import is_address

from . import names
from .rest import at_rest

# From one worker that a socket has moved to, to the next.
MAX_HOPS = 8
# When a worker ends, many clients come back: all workers are told of them together.
ANNOUNCE_S = 0.05
MAX_ANNOUNCED = 500


class Claims:
    """Fetches sockets of other workers, and gives them those of this one."""

    def __init__(
        self, mailbox: Mailbox, members: Members, namespaces: Mapping[str, Namespace]
    ) -> None:
        self._mailbox = mailbox
        self._members = members
        self._namespaces = namespaces
        self._revived: list[tuple[str, float]] = []
        members.fetch = self.fetch
        members.announce = self._announce
        mailbox.on(names.CLAIM, self._claim)
        mailbox.on(names.REVIVED, self._on_revived)

    async def fetch(
        self, namespace: Namespace, auth: dict[str, Any]
    ) -> dict[str, Any] | Nowhere:
        """Return the state of a socket that another worker has handed over."""
        claimed = self._members.pids.read(auth.get("pid"))
        if claimed is None:
            return Nowhere.UNKNOWN
        pid = auth["pid"]
        owner: str | None = self._members.moved_to(pid) or claimed.address
        for _ in range(MAX_HOPS):
            if owner == self._mailbox.address:
                owner = self._members.moved_to(pid)
            if owner is None or not is_address(owner):
                return Nowhere.UNKNOWN
            body = [namespace.name, json.dumps(auth)]
            try:
                reply = await self._mailbox.ask(owner, names.CLAIM, body)
            except GoneError:
                return Nowhere.GONE
            except UnreachableError:
                return Nowhere.UNKNOWN
            if reply is None:
                return Nowhere.UNKNOWN
            if "state" in reply:
                state: dict[str, Any] = reply["state"]
                return state
            owner = reply["moved"]
            if owner is None:
                return Nowhere.GONE
        return Nowhere.UNKNOWN

    async def _claim(self, sender: str, body: Any) -> Any:
        """Give a socket away; None where the client may not take it up."""
        name, auth = body[0], json.loads(body[1])
        namespace = self._namespaces.get(name)
        if namespace is None:
            return None
        if self._members.is_over:
            return {"moved": None}
        moved = self._members.moved_to(auth["pid"])
        if moved is not None:
            return {"moved": moved}
        member = await self._members.claim(namespace, auth)
        if member is None:
            return None
        handed = None
        try:
            handed = await at_rest(lambda: _hand_over(member, sender))
        finally:
            if handed is None:
                member.wait_for_client()
        if handed is None and self._members.is_over:
            return {"moved": None}
        return handed

    def _announce(self, pid: str, made_at: float) -> None:
        if not self._revived:
            asyncio.get_running_loop().call_later(ANNOUNCE_S, self._tell_revived)
        self._revived.append((pid, made_at))

    def _tell_revived(self) -> None:
        revived, self._revived = self._revived, []
        for at in range(0, len(revived), MAX_ANNOUNCED):
            some = revived[at : at + MAX_ANNOUNCED]
            self._mailbox.tell_everybody(names.REVIVED, [self._mailbox.address, some])

    async def _on_revived(self, sender: str, body: Any) -> None:
        worker, revived = body
        if worker == self._mailbox.address:
            return
        left = [self._members.revived_at(pid, worker, at) for pid, at in revived]
        await asyncio.gather(
            *(
                at_rest(partial(_hand_over, member, worker))
                for member in left
                if member is not None
            )
        )


def _hand_over(member: Member, worker: str) -> dict[str, Any] | None:
    # Meanwhile its client may have come back here: then it stays.
    may_go = member.is_absent and member.is_at_rest
    return {"state": member.hand_over(worker)} if may_go else None
