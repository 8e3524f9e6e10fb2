"""The event loop's way to the database: a few threads that nobody waits in.

Django's own `sync_to_async` gives every request a thread that lives as long as the
request does, which for an answer being streamed is minutes. Here a call borrows one
of a few threads and gives thread and connection back when it returns, so that
hundreds of waiting streams hold neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections

T = TypeVar("T")

# Enough to hide a slow query from the others; SQLite has one writer anyway.
THREADS = 4

_executor = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="database")


async def in_database(call: Callable[..., T], *args: object) -> T:
    """Run `call(*args)` in a thread that may use the ORM, and return its result.

    Cancelling the caller does not stop a call that has begun.
    """
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_executor, _run, call, args)


def _run(call: Callable[..., T], args: tuple[object, ...]) -> T:
    try:
        return call(*args)
    finally:
        _give_back_connections()


def _give_back_connections() -> None:
    for connection in connections.all(initialized_only=True):
        # An open file costs nothing to keep, and closing the last connection to
        # it makes SQLite fold its write-ahead log back in, which is slow.
        if connection.vendor != "sqlite" or connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()
