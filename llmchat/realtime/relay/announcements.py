"""Notices to all workers that sockets were recreated here.

A notice may be lost, and most likely when it matters: while Redis is away, sockets are
recreated whose workers are alive. Such a worker must not give what it has left of a
socket to the client, which has been here since. So a notice is repeated until Redis
takes it, and a few times more, for workers that begin to listen again only then.
"""

from __future__ import annotations

import asyncio

from llmchat.realtime.members import MAX_MOVED
from llmchat.workers import Mailbox

from . import names

# How long to gather sockets for one notice: when a worker ends, many clients come back.
GATHER_S = 0.05
MAX_ANNOUNCED = 500
# The pause before a notice that Redis has not taken is sent again.
RETRY_S = 1.0
# The pauses before each of the repetitions of a notice that it has taken.
AGAIN_S = (1.0, 2.0, 7.0)

Revived = tuple[str, float]


class Announcements:
    """Tells all workers of the sockets that this one has recreated.

    Its tasks end with the mailbox.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        # Each with its `pid` and when it was recreated, the latest ones: the other
        # workers do not remember more of them.
        self._waiting: list[Revived] = []
        self._is_telling = False

    def add(self, pid: str, made_at: float) -> None:
        """Announce a socket, soon."""
        self._waiting.append((pid, made_at))
        del self._waiting[:-MAX_MOVED]
        if not self._is_telling:
            self._is_telling = True
            self._mailbox.run(self._tell_waiting())

    async def _tell_waiting(self) -> None:
        """Tell of the sockets that wait, as soon as Redis takes it."""
        pause_s = GATHER_S
        try:
            while self._waiting:
                await asyncio.sleep(pause_s)
                batch = self._waiting[:MAX_ANNOUNCED]
                del self._waiting[:MAX_ANNOUNCED]
                if await self._tell(batch):
                    is_more = len(self._waiting) >= MAX_ANNOUNCED
                    pause_s = 0.0 if is_more else GATHER_S
                    self._mailbox.run(self._tell_again(batch))
                else:
                    pause_s = RETRY_S
                    self._waiting[:0] = batch
        finally:
            self._is_telling = False

    async def _tell_again(self, batch: list[Revived]) -> None:
        for pause_s in AGAIN_S:
            await asyncio.sleep(pause_s)
            await self._tell(batch)

    async def _tell(self, batch: list[Revived]) -> bool:
        body = [self._mailbox.address, batch]
        return await self._mailbox.tell_everybody(names.REVIVED, body)
