"""Sockets that their clients claim on a worker other than the one that has them.

A `pid` begins with the worker that issued it. If the socket has moved on, that worker
knows where it is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from typing import Any

from llmchat.realtime.member import Member
from llmchat.realtime.members import Members, Nowhere
from llmchat.realtime.namespaces import ComeBackLater, Namespace
from llmchat.realtime.rest import REST_S, at_rest
from llmchat.workers import Ask, Mailbox, UnreachableError
from llmchat.workers.address import is_address

from . import names
from .announcements import Announcements

# How many workers to ask, each naming the next one that a socket has moved to.
MAX_HOPS = 8
# How often to ask the same worker: the socket may reach it only after its first reply.
MAX_ASKED = 2
# How long to wait for a handler of the socket. The client waits as well, and then gets
# what the handler emits.
CLAIM_S = 10.0
# How long to wait for a session that has left its worker.
ARRIVAL_S = REST_S / 2


class Claims:
    """Fetches sockets of other workers, and gives them those of this one."""

    def __init__(
        self, mailbox: Mailbox, members: Members, namespaces: Mapping[str, Namespace]
    ) -> None:
        self._mailbox = mailbox
        self._members = members
        self._namespaces = namespaces
        members.fetch = self.fetch
        members.announce = Announcements(mailbox).add
        mailbox.on(names.CLAIM, self._claim)
        mailbox.on(names.REVIVED, self._on_revived)

    async def fetch(
        self, namespace: Namespace, auth: dict[str, Any]
    ) -> dict[str, Any] | Nowhere:
        """Return the state of a socket that another worker hands over.

        Raises: ComeBackLater, if the application there cannot know now whose it is.
        """
        claimed = self._members.pids.read(auth.get("pid"))
        if claimed is None:
            return Nowhere.UNKNOWN
        pid = auth["pid"]
        moved = self._members.moved_to(pid)
        owner: str | None = moved or claimed.address
        asked = [self._mailbox.address] if moved else []
        while owner is not None:
            if owner == self._mailbox.address:
                return self._own(auth)
            if not self._may_ask(owner, asked):
                break
            if not is_address(owner):
                return Nowhere.UNKNOWN
            body = [namespace.name, json.dumps(auth), asked]
            asked = [*asked, owner]
            try:
                reply = await self._mailbox.ask(owner, names.CLAIM, body)
            except UnreachableError:
                # If Redis is away, the worker may be alive and have the socket. That is
                # older than a recreated one, and is given up once the worker is
                # notified.
                owner = self._went_to(pid, asked)
                asked = [*asked, self._mailbox.address]
                continue
            if reply is None:
                return Nowhere.UNKNOWN
            if "state" in reply:
                state: dict[str, Any] = reply["state"]
                return state
            if reply.get("later"):
                raise ComeBackLater
            owner = reply["moved"]
            if owner == self._mailbox.address:
                await self._session_arrived(auth, asked[-1])
                if moved := self._members.moved_to(pid):
                    asked, owner = [*asked, owner], moved
        # The workers that were asked name each other, or no worker: it is lost.
        return Nowhere.GONE

    def _went_to(self, pid: str, asked: list[str]) -> str | None:
        """Return which other worker is known by now to have a socket, if one is."""
        moved = self._members.moved_to(pid)
        return moved if moved and moved not in asked else None

    def _may_ask(self, owner: str, asked: list[str]) -> bool:
        return len(asked) < MAX_HOPS and asked.count(owner) < MAX_ASKED

    def _own(self, auth: dict[str, Any]) -> Nowhere:
        """Return what became of a socket that should be here, but is not available."""
        return Nowhere.GONE if self._is_gone(auth) else Nowhere.UNKNOWN

    def _is_gone(self, auth: dict[str, Any]) -> bool:
        """Return whether a socket that is said to be here has to be recreated.

        Either what is left of it is older than what its client had elsewhere, or it
        never arrived: it was lost on the way.
        """
        members = self._members
        return members.is_behind(auth) or members.is_lost(auth["pid"])

    async def _claim(self, sender: str, body: Any) -> Any:
        """Hand a socket over; None: the client may not take it up."""
        name, auth = body[0], json.loads(body[1])
        led_here = body[2] if len(body) > 2 else []
        namespace, members = self._namespaces.get(name), self._members
        if namespace is None:
            return None
        if members.is_over:
            return self._kept_by(auth)
        await self._arrived(auth["pid"])
        if led_here and members.moved_to(auth["pid"]) in (None, *led_here):
            # Nothing is known of it here, or only that it went where it comes from.
            await self._session_arrived(auth, led_here[-1])
        if moved := members.moved_to(auth["pid"]):
            return {"moved": moved}
        try:
            member = await members.claim(namespace, auth)
        except ComeBackLater:
            # A worker of another version ignores `later`, and recreates the socket.
            return {"moved": None, "later": True}
        if member is None:
            if members.is_over:
                return self._kept_by(auth)
            # It may have moved while the application was asked.
            moved = members.moved_to(auth["pid"])
            return {"moved": moved} if moved or self._is_gone(auth) else None
        reply = None
        try:
            # An earlier claim, which the client has given up, may get it first.
            reply = await at_rest(lambda: self._answer(member, auth, sender), CLAIM_S)
        finally:
            member.wait_for_client()
        return reply or None

    def _kept_by(self, auth: dict[str, Any]) -> dict[str, Any]:
        """Return the reply of a worker that stops: which one keeps the socket now."""
        return {"moved": self._members.moved_to(auth["pid"]) or None}

    async def _arrived(self, pid: str) -> None:
        """Wait for a socket on its way here: no worker has it now, but it is not lost.

        The wait is limited: two workers may ask each other for one that neither has.
        """
        await at_rest(lambda: None if self._members.is_coming(pid) else True, REST_S)

    async def _session_arrived(self, auth: dict[str, Any], worker: str) -> None:
        """Wait for a client's socket that is not here, although that worker says it is.

        It may be on its way with its session, and nothing here knows what a session
        brings. It must be a short wait: another session that this worker takes over may
        be waiting for this very claim.
        """
        if self._members.serves(auth):
            return
        coming = self._mailbox.asks(worker, names.TAKE)
        if coming:
            await at_rest(lambda: self._is_served(auth, coming) or None, ARRIVAL_S)
            # What has waited for the session takes it over first.
            await asyncio.sleep(0)

    def _is_served(self, auth: dict[str, Any], coming: Collection[Ask]) -> bool:
        """Return whether a client's socket is here, or no session is coming."""
        return self._members.serves(auth) or all(asked.done() for asked in coming)

    def _answer(
        self, member: Member, auth: dict[str, Any], sender: str
    ) -> dict[str, Any] | None:
        """Return the reply to a claim; None: it has to wait; {}: the socket stays."""
        if self._members.is_over:
            return self._kept_by(auth)
        if not self._members.has(member):
            if self._members.serves(auth):
                return {"moved": self._mailbox.address}  # a later one has arrived
            moved = self._members.moved_to(auth["pid"])
            return {"moved": moved} if moved else {}
        if not member.is_absent:
            return {}  # its client has come back here
        if not member.is_at_rest:
            return None
        state = member.hand_over(sender)
        return {"state": state} if state is not None else {}

    async def _on_revived(self, sender: str, body: Any) -> None:
        worker, revived = body
        if worker == self._mailbox.address:
            return
        for pid, made_at in revived:
            self._members.revived_at(pid, worker, made_at)
