"""Sockets whose clients are away when their worker stops: another worker keeps them.

What such a client has missed is only here. Without it, the client would get its socket
back, but would never learn of an answer that began while it was away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

from llmchat.realtime.member import Member
from llmchat.realtime.members import Members
from llmchat.realtime.namespaces import Namespace
from llmchat.realtime.request import Handshake
from llmchat.workers import Mailbox, UnreachableError

from . import names

logger = logging.getLogger(__name__)

# How long a worker that stops takes for this. What it has not handed over by then is
# recreated from what is stored, as if the worker had crashed.
PARTING_S = 2.0
# How much is on its way at the same time. Letters may be sent twice, and Redis drops a
# subscriber that is more than 8 MiB behind for a minute, or 32 MiB at once.
MAX_BYTES = 4 * 1024 * 1024
# What a socket counts at least.
_LEAST_BYTES = 32 * 1024
_LOOK_AGAIN_S = 0.01


class Parting:
    """Hands over the sockets of a worker that stops, and keeps those of others."""

    def __init__(
        self, mailbox: Mailbox, members: Members, namespaces: Mapping[str, Namespace]
    ) -> None:
        self._mailbox = mailbox
        self._members = members
        self._namespaces = namespaces
        self._on_the_way = 0  # bytes
        self._failed: set[Member] = set()
        mailbox.on(names.KEEP, self._keep)

    async def hand_over(self, worker: str) -> None:
        """Let a worker keep the sockets that wait for their clients."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PARTING_S), asyncio.TaskGroup() as group:
                # It polls, since what is at work on a socket does not report its end.
                # More may arrive meanwhile: from a worker that stops as well, or for a
                # client that was lost while its socket was fetched.
                while self._give_some(worker, group):  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_AGAIN_S)

    def _give_some(self, worker: str, group: asyncio.TaskGroup) -> bool:
        """Begin to hand over what there is room for; return whether to go on.

        Those whose clients have missed something go first.
        """
        waiting = [one for one in self._members.waiting() if one not in self._failed]
        for member in sorted(waiting, key=lambda member: not member.kept_bytes):
            if self._on_the_way >= MAX_BYTES:
                break
            if member.is_at_rest and not any(map(self._members.is_coming, member.pids)):
                size = max(_LEAST_BYTES, member.kept_bytes)
                self._on_the_way += size
                group.create_task(self._give(member, worker, size))
        return bool(waiting or self._on_the_way or self._members.is_fetching)

    async def _give(self, member: Member, worker: str, size: int) -> None:
        try:
            async with AsyncExitStack() as stack:
                # Whoever claims the socket meanwhile waits until that worker has it.
                for pid in member.pids:
                    await stack.enter_async_context(self._members.turn_of(pid))
                await self._ask_to_keep(member, worker)
        except UnreachableError as exc:
            logger.info("a socket was not handed over: %s", exc)
        except Exception:
            self._failed.add(member)
            logger.exception("a socket could not be handed over")
        finally:
            self._on_the_way -= size

    async def _ask_to_keep(self, member: Member, worker: str) -> None:
        if not (self._members.has(member) and member.is_absent and member.is_at_rest):
            return
        # The other workers believe the latest one that says it has the socket. It is
        # earlier than a recreated one of which nothing is known here yet.
        member.made_at = self._members.just_later(member.pids)
        state = member.hand_over(worker)
        if state is not None:
            handshake = member.socket.handshake.fields()
            body = [member.namespace.name, handshake, state]
            await self._mailbox.ask(worker, names.KEEP, body)

    async def _keep(self, sender: str, body: Any) -> bool:
        """Keep a socket for its client; False: this worker does not."""
        name, handshake, state = body
        namespace = self._namespaces.get(name)
        if namespace is None or self._members.is_over:
            return False
        return self._members.keep(namespace, state, Handshake(*handshake), sender)
