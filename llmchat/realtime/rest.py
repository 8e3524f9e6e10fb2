"""Waiting until nothing is at work on what is to move to another worker, or to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from llmchat.workers import GONE_S

T = TypeVar("T")

# A handler may be waiting for the database, or for a worker that is gone. It must learn
# that before the code that waits for the handler gives up.
REST_S = GONE_S + 1.0
_LOOK_AGAIN_S = 0.01


async def at_rest(move: Callable[[], T | None], limit_s: float = REST_S) -> T | None:
    """Call `move` until it returns something, and return that; None: time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    # It polls, since handlers, tasks and requests do not report their end to it.
    while (moved := move()) is None and loop.time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_AGAIN_S)
    return moved
