"""The cache: in Redis, or in this process's memory during an outage of Redis.

While Redis does not answer, or takes no writes, each process counts and caches in its
own memory. So an outage locks nobody out and switches no limit off; a limit is at worst
multiplied by the number of processes.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache, RedisCacheClient

from llmchat.outages import Outage

T = TypeVar("T")

# Each is called, in some thread, when a failover is over: there is a primary again.
on_failover: list[Callable[[], None]] = []

# A healthy Redis nearby answers in a millisecond.
TIMEOUT_S = 0.25
# For a whole call, because the lookup of the host name has no timeout of its own.
DEADLINE_S = 1.0
_LOCAL_ENTRIES = 100_000
# What a probe writes, under a key as Django makes them, and for how many seconds.
_PROBE_KEY = ":1:llmchat.probe"
_PROBE_KEPT_S = 10

# A Redis that fails whenever it is used again is left alone for so long; one that is
# well again after that is used as late.
_LONGEST_S = 8.0

_MAX_WAITING = 1000

_executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="cache")
_room = threading.BoundedSemaphore(_MAX_WAITING)


def is_of_redis(exc: BaseException) -> bool:
    """Return whether it is an error of Redis's client.

    The client is imported, with all that it brings, only where there is a Redis. So
    where it is not, no error is one of its own.
    """
    client = sys.modules.get("redis.exceptions")
    return client is not None and isinstance(exc, client.RedisError)


def _is_outage(exc: Exception) -> bool:
    return isinstance(exc, OSError) or is_of_redis(exc)


async def in_cache(call: Callable[..., T], *args: object) -> T:
    """Run `call(*args)` in a thread that may wait for Redis, and return its result.

    These are not the threads of the database, so a slow Redis delays nothing else.

    Raises: TimeoutError, after `DEADLINE_S`.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE_S):
        return await loop.run_in_executor(_executor, functools.partial(call, *args))


def in_cache_later(call: Callable[..., object], *args: object) -> None:
    """Run `call(*args)` in such a thread later; drop it if too many calls wait."""
    if _room.acquire(blocking=False):
        done = _executor.submit(call, *args)
        done.add_done_callback(lambda _: _room.release())


class _Link:
    """Django's client of one Redis, with this process's memory as a fallback."""

    def __init__(self, address: str) -> None:
        self._redis = RedisCacheClient(
            [address],
            socket_connect_timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
        )
        room = {"OPTIONS": {"MAX_ENTRIES": _LOCAL_ENTRIES}}
        self._memory = LocMemCache(address, room)
        self._was_standby = False
        self.outage = Outage(
            "Redis",
            self._probe,
            meanwhile="each process uses its own memory",
            longest_s=_LONGEST_S,
        )

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(self._ask, name)

    def _ask(self, name: str, *args: Any) -> Any:
        if not self.outage.lasts:
            try:
                return getattr(self._redis, name)(*args)
            except Exception as exc:
                if not _is_outage(exc):
                    raise
                self._leave_standby(exc)
                self.outage.begin(exc)
        return getattr(self._memory, name)(*args)

    def answers(self) -> bool:
        """Ask Redis whether it takes writes; an outage that lasts asks itself."""
        if self.outage.lasts:
            return False
        try:
            self._probe()
        except Exception as exc:
            if not _is_outage(exc):
                raise
            self.outage.begin(exc)
            return False
        return True

    def _probe(self) -> None:
        """Write something: a standby, or a Redis that is full, answers a PING."""
        try:
            client = self._redis.get_client(write=True)
            client.set(_PROBE_KEY, 1, ex=_PROBE_KEPT_S)
        except Exception as exc:
            self._leave_standby(exc)
            raise
        if self._was_standby:
            self._was_standby = False
            for tell in tuple(on_failover):
                tell()

    def _leave_standby(self, exc: Exception) -> None:
        """Close the connections to what a failover has made a standby.

        The next ones follow the address to the new primary.
        """
        client = sys.modules.get("redis.exceptions")
        if client is not None and isinstance(exc, client.ReadOnlyError):
            self._was_standby = True
            pool = self._redis.get_client(write=True).connection_pool
            pool.disconnect(inuse_connections=False)


# One per process: Django would create a client, with its own connections, for each
# thread and each request.
link = functools.cache(_Link)


class SharedCache(RedisCache):
    """Django's cache in Redis, which also works without Redis."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._link = link(server)
        # It has the same methods.
        self._cache = self._link  # type: ignore[assignment]

    @property
    def outage(self) -> Outage:
        """Return the outage; while it lasts, calls use the memory at once."""
        return self._link.outage

    def is_shared(self) -> bool:
        """Return whether Redis answers; otherwise this process counts alone."""
        return self._link.answers()

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Increment a counter; start at zero if Redis came or went meanwhile."""
        try:
            return int(super().incr(key, delta, version=version))
        except ValueError:
            self.set(key, delta, version=version)
            return delta
