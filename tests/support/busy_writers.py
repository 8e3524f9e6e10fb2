"""Keeping the database's threads busy, all but that of the books."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llmchat.database import THREADS, in_database

LIMIT_S = 10


@asynccontextmanager
async def busy_writers() -> AsyncIterator[list[asyncio.Task[bool]]]:
    """Keep all threads of the writers busy."""
    go, held = threading.Event(), threading.Barrier(THREADS + 1)

    def hold() -> bool:
        held.wait(LIMIT_S)
        return go.wait(LIMIT_S)

    calls = [asyncio.create_task(in_database(hold)) for _ in range(THREADS)]
    await asyncio.to_thread(held.wait, LIMIT_S)
    try:
        yield calls
    finally:
        go.set()
