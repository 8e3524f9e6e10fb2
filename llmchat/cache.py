"""The cache: in Redis, or in this process's memory during an outage of Redis.

While Redis does not answer, or accepts no writes, each process counts and caches in its
own memory. So an outage locks no user out and disables no limit; at worst, a limit is
multiplied by the number of processes.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache, RedisCacheClient

from llmchat.outages import Outage

T = TypeVar("T")

# Each is called, from any thread, when a failover is over and there is a primary again.
on_failover: list[Callable[[], None]] = []

# A healthy Redis nearby answers in a millisecond.
TIMEOUT_S = 0.25
# For a whole call, because the lookup of the host name has no timeout of its own.
DEADLINE_S = 1.0
_LOCAL_ENTRIES = 100_000
# The key that a probe writes, in the form of Django's own, and its lifetime.
_PROBE_KEY = ":1:llmchat.probe"
_PROBE_KEPT_S = 10

# How long, at most, a Redis that fails whenever it is used again is left unused. After
# it has recovered, it can take this long until it is used.
_LONGEST_S = 8.0

_MAX_WAITING = 1000

# Set in the environment of workers whose master has logged that Redis is away.
_LOGGED_VARIABLE = "_LLMCHAT_REDIS_OUTAGE_IS_LOGGED"

_of_thread = threading.local()


def _mark() -> None:
    _of_thread.may_wait = True


_executor = ThreadPoolExecutor(
    max_workers=2, thread_name_prefix="cache", initializer=_mark
)
_room = threading.BoundedSemaphore(_MAX_WAITING)


def is_of_redis(exc: BaseException) -> bool:
    """Return whether an error is one of the Redis client's.

    The client and its dependencies are imported only if a Redis is configured. If they
    are not, the error cannot be one of the client's.
    """
    client = sys.modules.get("redis.exceptions")
    return client is not None and isinstance(exc, client.RedisError)


def _is_outage(exc: Exception) -> bool:
    return isinstance(exc, OSError) or is_of_redis(exc)


def is_away() -> bool:
    """Return whether an outage of Redis lasts, as far as this process knows."""
    cache = caches["default"]
    return isinstance(cache, SharedCache) and cache.outage.lasts


def tell_workers() -> None:
    """Let workers that are started from now on know an outage that is logged here."""
    if is_away():
        os.environ[_LOGGED_VARIABLE] = "1"
    else:
        os.environ.pop(_LOGGED_VARIABLE, None)


async def in_cache(call: Callable[..., T], *args: object) -> T:
    """Run `call(*args)` in a thread that may wait for Redis, and return its result.

    The threads are not those of the database, so a slow Redis delays nothing else.

    Raises: TimeoutError, after `DEADLINE_S`.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE_S):
        return await loop.run_in_executor(_executor, functools.partial(call, *args))


def _in_time(call: Callable[..., T], *args: object) -> T:
    """Run `call(*args)` in one of these threads, and wait for it; in one, just run it.

    So every use of the cache has a deadline, also by code that does not know this
    module: log-ins, the admin's reports.

    Raises: TimeoutError, after `DEADLINE_S`.
    """
    if getattr(_of_thread, "may_wait", False):
        return call(*args)
    done = _executor.submit(call, *args)
    try:
        return done.result(DEADLINE_S)
    except TimeoutError as exc:
        done.cancel()
        raise TimeoutError("no answer in time") from exc


def in_cache_later(call: Callable[..., object], *args: object) -> None:
    """Run `call(*args)` later, in one of these threads; drop it if too many wait."""
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
            f"Redis at {_place(address)}",
            self._probe,
            meanwhile="each process uses its own memory",
            longest_s=_LONGEST_S,
        )
        if os.environ.pop(_LOGGED_VARIABLE, None):
            self.outage.begin_unlogged()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(self._ask, name)

    def _ask(self, name: str, *args: Any) -> Any:
        if not self.outage.lasts:
            try:
                return _in_time(getattr(self._redis, name), *args)
            except Exception as exc:
                if not _is_outage(exc):
                    raise
                self._leave_standby(exc)
                self.outage.begin(_reason(exc))
        return getattr(self._memory, name)(*args)

    def answers(self) -> bool:
        """Return whether Redis accepts writes.

        During an outage Redis is not asked: the outage probes it by itself.
        """
        if self.outage.lasts:
            return False
        try:
            _in_time(self._probe)
        except Exception as exc:
            if not _is_outage(exc):
                raise
            self.outage.begin(_reason(exc))
            return False
        return True

    def _probe(self) -> None:
        """Write a key: a standby, or a full Redis, would still answer a PING."""
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
        """Close the connections to a server that a failover has turned into a standby.

        New connections look the address up again and reach the new primary.
        """
        client = sys.modules.get("redis.exceptions")
        if client is not None and isinstance(exc, client.ReadOnlyError):
            self._was_standby = True
            pool = self._redis.get_client(write=True).connection_pool
            pool.disconnect(inuse_connections=False)


def _place(address: str) -> str:
    """Return host and port, or the path of a socket: never the password."""
    parts = urlsplit(address)
    if parts.scheme.lower() == "unix":
        return parts.path
    host = parts.hostname or "localhost"
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or 6379}"


def _reason(exc: Exception) -> object:
    """Return why Redis cannot be used, in words that name the setting if it is that."""
    client = sys.modules.get("redis.exceptions")
    if client is not None and isinstance(exc, client.AuthenticationError):
        return (
            "it does not accept the user name and password of REDIS_URL, or their"
            f" absence ({exc})"
        )
    return exc


# One per process: Django would create a client, with its own connections, for each
# thread and each request.
link = functools.cache(_Link)


class SharedCache(RedisCache):
    """Django's cache in Redis, which also works without Redis."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._link = link(server)
        # It has the methods of Django's own client.
        self._cache = self._link  # type: ignore[assignment]

    @property
    def outage(self) -> Outage:
        """Return the outage of Redis; while it lasts, calls do not try Redis first."""
        return self._link.outage

    def is_shared(self) -> bool:
        """Return whether Redis answers; if not, this process counts on its own."""
        return self._link.answers()

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Increment a counter, from zero if Redis has just failed or recovered."""
        try:
            return int(super().incr(key, delta, version=version))
        except ValueError:
            self.set(key, delta, version=version)
            return delta
