"""Sockets whose clients are away when their worker stops: another worker keeps them.

What such a client has missed is only here. Without it, the client would get its socket
back, but would never learn of an answer that began while it was away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from llmchat.realtime.member import Member
from llmchat.realtime.members import Members
from llmchat.realtime.namespaces import Namespace
from llmchat.realtime.request import Handshake
from llmchat.realtime.rest import at_rest
from llmchat.workers import Mailbox, UnreachableError

from . import names

logger = logging.getLogger(__name__)

# How long a worker that stops takes for this. What it has not handed over by then is
# recreated from what is stored, as if the worker had crashed.
PARTING_S = 2.0
# How many sockets are on their way at the same time: each may be a megabyte.
AT_ONCE = 20


class Parting:
    """Hands over the sockets of a worker that stops, and keeps those of others."""

    def __init__(
        self, mailbox: Mailbox, members: Members, namespaces: Mapping[str, Namespace]
    ) -> None:
        self._mailbox = mailbox
        self._members = members
        self._namespaces = namespaces
        self._room = asyncio.Semaphore(AT_ONCE)
        mailbox.on(names.KEEP, self._keep)

    async def hand_over(self, worker: str) -> None:
        """Let a worker keep the sockets that wait for their clients."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PARTING_S), asyncio.TaskGroup() as group:
                for member in self._members.absent():
                    group.create_task(self._give(member, worker))

    async def _give(self, member: Member, worker: str) -> None:
        async with self._room:
            state = await at_rest(lambda: self._state_of(member, worker))
            if state:
                handshake = member.socket.handshake.fields()
                body = [member.namespace.name, handshake, state]
                try:
                    await self._mailbox.ask(worker, names.KEEP, body)
                except UnreachableError as exc:
                    logger.info("a socket was not handed over: %s", exc)

    def _state_of(self, member: Member, worker: str) -> dict[str, Any] | None:
        """Return what the worker needs; None: not yet; {}: the member does not wait."""
        if not self._members.has(member) or not member.is_absent:
            return {}
        if not member.is_at_rest:
            return None
        # The other workers believe the latest one that says it has the socket.
        member.made_at = self._members.next_time(member.pids)
        return member.hand_over(worker) or {}

    async def _keep(self, sender: str, body: Any) -> bool:
        """Keep a socket for its client; False: this worker does not."""
        name, handshake, state = body
        namespace = self._namespaces.get(name)
        if namespace is None or self._members.is_over:
            return False
        return self._members.keep(namespace, state, Handshake(*handshake))
