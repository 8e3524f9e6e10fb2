"""The cache in Redis, and in this process's memory while Redis is away.

The one rule for all that is counted or kept in the cache: while Redis does not answer,
each process counts and keeps for itself. So an outage locks nobody out, and no limit
is off; with several processes it is as many times as wide.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis.exceptions import RedisError

from llmchat.outages import Outage

T = TypeVar("T")

# A Redis that is near and well answers in a millisecond.
TIMEOUT_S = 0.25
# Whoever waits longer takes Redis for away: looking up its name has no time-out.
DEADLINE_S = 1.0
_LOCAL_ENTRIES = 100_000

_MAX_WAITING = 1000

_executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="cache")
_room = threading.BoundedSemaphore(_MAX_WAITING)


async def in_cache(call: Callable[..., T], *args: object) -> T:
    """Run `call(*args)` in a thread that may wait for Redis, and return its result.

    These threads are not the database's: a slow Redis holds up nothing but itself.

    Raises: TimeoutError, after `DEADLINE_S`.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE_S):
        return await loop.run_in_executor(_executor, functools.partial(call, *args))


def in_cache_later(call: Callable[..., object], *args: object) -> None:
    """Run `call(*args)` in such a thread soon, unless too many calls wait for it."""
    if _room.acquire(blocking=False):
        done = _executor.submit(call, *args)
        done.add_done_callback(lambda _: _room.release())


class _Link:
    """Django's client of one Redis, with this process's memory to step in for it."""

    def __init__(self, address: str) -> None:
        self._redis = RedisCacheClient(
            [address],
            socket_connect_timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
        )
        room = {"OPTIONS": {"MAX_ENTRIES": _LOCAL_ENTRIES}}
        self._memory = LocMemCache(address, room)
        self.outage = Outage(
            "Redis", self._probe, meanwhile="each process counts for itself"
        )

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(self._ask, name)

    def _ask(self, name: str, *args: Any) -> Any:
        if not self.outage.lasts:
            try:
                return getattr(self._redis, name)(*args)
            except (RedisError, OSError) as exc:
                self.outage.begin(exc)
        return getattr(self._memory, name)(*args)

    def _probe(self) -> None:
        self._redis.get_client(write=True).ping()


# One for the process: Django would make a client, with connections of its own, for
# each thread and each request.
link = functools.cache(_Link)


class SharedCache(RedisCache):
    """Django's cache in Redis, which never fails for want of Redis."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._link = link(server)
        # It answers the same calls.
        self._cache = self._link  # type: ignore[assignment]

    @property
    def outage(self) -> Outage:
        """While it lasts, every call is answered from memory, at once."""
        return self._link.outage

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Count on; from nothing, where Redis came or went since the count began."""
        try:
            return int(super().incr(key, delta, version=version))
        except ValueError:
            self.set(key, delta, version=version)
            return delta
