"""Waiting until nothing is at work on what is to go: to another worker, or for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from llmchat.workers import GONE_S

T = TypeVar("T")

# A handler may be waiting for the database, or for a worker that is gone: it must hear
# so before whoever waits for it gives up.
REST_S = GONE_S + 1.0
_LOOK_AGAIN_S = 0.01


async def at_rest(move: Callable[[], T | None], limit_s: float = REST_S) -> T | None:
    """Return what `move` returns as soon as that is something; None: it takes long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    # Handlers, tasks, requests: none of them knows that somebody waits for it.
    while (moved := move()) is None and loop.time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_AGAIN_S)
    return moved
