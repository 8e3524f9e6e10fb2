"""Who else is there: asked before a worker stops, told when it has.

Workers do not know each other until a client brings them together. One that stops may
send its clients away at once where another will have them; and whoever still looks for
something there need not find out by waiting.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .mailbox import Mailbox

# All workers are told: who is there, and who is no more.
WHO, LEFT = "workers.who", "workers.left"
# One is told: this one is there.
HERE = "workers.here"
_REPLY_S = 0.5


class Presence:
    """This worker among the others."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._is_leaving = False
        self._heard = asyncio.Event()
        mailbox.on(WHO, self._who)
        mailbox.on(HERE, self._here)
        mailbox.on(LEFT, self._left)

    async def has_others(self) -> bool:
        """Return whether another worker is there that does not stop, too.

        From now on, this one is none for the others.
        """
        self._is_leaving = True
        self._heard.clear()
        self._mailbox.tell_everybody(WHO, self._mailbox.address)
        try:
            async with asyncio.timeout(_REPLY_S):
                await self._heard.wait()
        except TimeoutError:
            return False
        return True

    async def leave(self) -> None:
        """Tell the others that nothing is to be had here any more."""
        await self._mailbox.tell_everybody(LEFT, self._mailbox.address)

    async def _who(self, sender: str, body: Any) -> None:
        if body != self._mailbox.address and not self._is_leaving:
            self._mailbox.ask(body, HERE)

    async def _here(self, sender: str, body: Any) -> None:
        self._heard.set()

    async def _left(self, sender: str, body: Any) -> None:
        if body != self._mailbox.address:
            self._mailbox.give_up(body)
