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
# The first pause is short, since most are at rest in a moment. The pauses grow with the
# time that has passed, since thousands may be waiting.
_LOOK_AGAIN_S = 0.01
_LONGEST_S = 0.25
_GROWTH = 1.25


async def at_rest(move: Callable[[], T | None], limit_s: float = REST_S) -> T | None:
    """Call `move` until it returns something, and return that; None: time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    pause_s = _LOOK_AGAIN_S
    # It polls, since handlers, tasks and requests do not report their end to it.
    while (moved := move()) is None and loop.time() < deadline:
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * _GROWTH, _LONGEST_S)
    return moved
