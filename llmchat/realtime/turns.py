"""Turns at the event loop, so that no client's burst delays what others are sent.

A client may send ten thousand events at once. Whoever handles them does so in slices,
and waits for a turn between two of them; in each pass of the event loop one turn is
given away, whoever and however many wait. What a client sends within its first slice
waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

# A slice: so many messages, or fewer where they are long. About a millisecond.
MESSAGES_IN_SLICE = 16
# Of the first one, which waits for nobody.
MESSAGES_AT_ONCE = 4
BYTES_OF_MESSAGE = 4096


class Turns:
    """Calls back those who wait, one in each pass of the event loop, in order."""

    __slots__ = ("_is_scheduled", "_waiting", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_scheduled = False

    def call(self, callback: Callable[[], None]) -> None:
        """Call back when it is this one's turn."""
        self._waiting.append(callback)
        self._schedule()

    async def take(self) -> None:
        """Wait for a turn."""
        turn = self.loop.create_future()
        self.call(partial(_begin, turn))
        await turn

    def _schedule(self) -> None:
        if self._waiting and not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_soon(self._next)

    def _next(self) -> None:
        self._is_scheduled = False
        try:
            self._waiting.popleft()()
        finally:
            self._schedule()


class Pace:
    """What one client has used of its slice."""

    __slots__ = ("_used",)

    def __init__(self) -> None:
        # The first slice is a short one: there may be many clients.
        self._used = MESSAGES_IN_SLICE - MESSAGES_AT_ONCE

    async def spend(self, size: int) -> None:
        """Note a message of so many bytes; wait for a turn behind a whole slice."""
        self._used += 1 + size // BYTES_OF_MESSAGE
        if self._used >= MESSAGES_IN_SLICE:
            self._used = 0
            await turns().take()


def _begin(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


_turns: Turns | None = None


def turns() -> Turns:
    """Return the turns of the running event loop."""
    global _turns
    loop = asyncio.get_running_loop()
    if _turns is None or _turns.loop is not loop:
        _turns = Turns(loop)
    return _turns
