"""The clock of the event loop, moved on by hand: no machine stalls by it."""

from __future__ import annotations

import asyncio

from tests.support.peers import turns


class Passing(float):
    """Seconds that pass at once, on the clock of the event loop alone.

    For limits that are to be kept, or missed, by little: no machine stalls so long.
    """


async def let_pass(seconds: float) -> None:
    """Move the clock of the running loop on, and do what is due by then.

    From then on it stands still, until it is moved again. What was written before is
    read before.
    """
    await turns()
    loop = asyncio.get_running_loop()
    now = loop.time() + seconds
    loop.time = lambda: now  # type: ignore[method-assign]
    await turns()
