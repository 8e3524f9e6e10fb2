"""`GET /readyz`: whether this process should be sent requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from django.core.cache import caches
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, JsonResponse

from llmchat import database
from llmchat.answers import runtime
from llmchat.api.reading import reading
from llmchat.cache import SharedCache, in_cache
from llmchat.database import read_database
from llmchat.errors import REFUSALS

# How long a check may take, and how long its result is used for further requests.
CHECK_S = 1.0
KEPT_S = 1.0


class Readiness:
    """What this process needs and does not have; checked once a second at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked_at = 0.0
        self._asking: asyncio.Task[list[str]] | None = None

    async def missing(self) -> list[str]:
        """Return what is missing: `draining`, `database`, `redis`."""
        stopping = ["draining"] if runtime.is_closing() else []
        return stopping + await self._checked()

    async def _checked(self) -> list[str]:
        asking, loop = self._asking, asyncio.get_running_loop()
        if asking is not None and not asking.done() and asking.get_loop() is loop:
            return await asyncio.shield(asking)
        is_fresh = self._clock() < self._asked_at + KEPT_S
        if asking is not None and asking.done() and is_fresh:
            return asking.result()
        self._asked_at = self._clock()
        self._asking = loop.create_task(_check())
        # A request that hangs up must not cancel the check for the others.
        return await asyncio.shield(self._asking)


async def _check() -> list[str]:
    has_database, has_redis = await asyncio.gather(_has_database(), _has_redis())
    missing = {"database": not has_database, "redis": not has_redis}
    return [name for name, is_missing in missing.items() if is_missing]


async def _has_database() -> bool:
    if database.outage.lasts:
        return False
    try:
        async with asyncio.timeout(CHECK_S):
            await read_database(_select)
    except (TimeoutError, DatabaseError, InterfaceError):
        return False
    return True


def _select() -> None:
    with database.until(time.monotonic() + CHECK_S), connection.cursor() as cursor:
        cursor.execute("SELECT 1")


async def _has_redis() -> bool:
    """Return whether Redis answers or is not used."""
    cache = caches["default"]
    if not isinstance(cache, SharedCache):
        return True
    try:
        return await in_cache(cache.is_shared)  # waits no longer than `CHECK_S`
    except TimeoutError:
        return False


_readiness = Readiness()


@reading
async def readyz(request: HttpRequest) -> JsonResponse:
    """Say whether the process has what it needs, and is not about to stop."""
    missing = await _readiness.missing()
    headers = {"Cache-Control": "no-store"}
    if not missing:
        return JsonResponse({"status": "ok"}, headers=headers)
    status, text = REFUSALS["not_ready"]
    body = {
        "error": f"{text}: {', '.join(missing)}",
        "code": "not_ready",
        "notReady": missing,
    }
    response = JsonResponse(body, status=status, headers=headers)
    # The response says it; an outage is logged once, where it is noticed.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response
