"""Which other workers there are: asked before a worker stops, announced when it has.

Workers do not know each other until a client brings them together. A worker that stops
can send its clients away immediately if there is another worker to take them. And the
others need not wait to find out that what they look for is no longer there.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .mailbox import Mailbox

# Sent to all workers: the question who is there, and the notice that this one has left.
WHO, LEFT = "workers.who", "workers.left"
# Sent to the worker that asked: this one is there.
HERE = "workers.here"
_REPLY_S = 0.5


class Presence:
    """This worker among the others."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._is_leaving = False
        self._heard = asyncio.Event()
        self._other = ""
        mailbox.on(WHO, self._who)
        mailbox.on(HERE, self._here)
        mailbox.on(LEFT, self._left)

    async def find_other(self) -> str | None:
        """Return the address of another worker that is not stopping as well.

        From now on, this worker does not count for the others.
        """
        self._is_leaving = True
        self._heard.clear()
        self._mailbox.tell_everybody(WHO, self._mailbox.address)
        try:
            async with asyncio.timeout(_REPLY_S):
                await self._heard.wait()
        except TimeoutError:
            return None
        return self._other

    async def leave(self) -> None:
        """Announce to the others that nothing is available here any more."""
        await self._mailbox.tell_everybody(LEFT, self._mailbox.address)

    async def _who(self, sender: str, body: Any) -> None:
        if body != self._mailbox.address and not self._is_leaving:
            self._mailbox.ask(body, HERE)

    async def _here(self, sender: str, body: Any) -> None:
        self._other = sender
        self._heard.set()

    async def _left(self, sender: str, body: Any) -> None:
        if body != self._mailbox.address:
            self._mailbox.give_up(body)
