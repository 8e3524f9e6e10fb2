"""The clock of the event loop, advanced by hand: no stall of the machine affects it."""

from __future__ import annotations

import asyncio

from tests.support.peers import turns


class Passing(float):
    """Seconds that pass instantly, on the clock of the event loop only.

    For limits that a test keeps or misses by a margin smaller than a stall of the
    machine can be.
    """


async def let_pass(seconds: float) -> None:
    """Advance the clock of the running loop, and run what is due by then.

    Afterwards the clock stands still until it is advanced again. What was written
    before this call is read before the clock moves.
    """
    await turns()
    loop = asyncio.get_running_loop()
    now = loop.time() + seconds
    loop.time = lambda: now  # type: ignore[method-assign]
    await turns()
