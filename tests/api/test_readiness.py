"""What a load balancer is told of a process."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.test import AsyncClient

from llmchat import database
from llmchat.answers import runtime
from llmchat.api import readiness
from tests.support.chat_fixtures import broken_database, until
from tests.support.redis_server import RedisServer

DOCS = Path(__file__).resolve().parents[2] / "docs"
OPERATIONS = (DOCS / "operations.md").read_text()

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Forget the results of earlier probes; the time does not pass until it is set."""
    now = [1000.0]
    monkeypatch.setattr(readiness, "_readiness", readiness.Readiness(lambda: now[0]))
    return now


@pytest.fixture
def redis(settings: Any, redis_server: RedisServer) -> RedisServer:
    backend = "llmchat.cache.SharedCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": redis_server.url}}
    return redis_server


async def probe() -> Any:
    answer: Any = await AsyncClient().get("/readyz")
    assert answer.headers["Cache-Control"] == "no-store"
    return answer


async def missing() -> list[str]:
    answer = await probe()
    found: list[str] = answer.json().get("notReady", [])
    assert answer.status_code == (503 if found else 200)
    return found


async def test_a_process_that_has_all_it_needs_is_ready() -> None:
    answer = await probe()

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_without_its_database_it_is_not(clock: list[float]) -> None:
    with broken_database("SELECT 1"):
        answer = await probe()

    assert answer.status_code == 503
    assert answer.json() == {
        "error": "Not ready: database",
        "code": "not_ready",
        "notReady": ["database"],
    }
    assert await missing() == ["database"]  # as it was a moment ago
    clock[0] += readiness.KEPT_S
    assert await missing() == []


async def test_a_database_that_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = asyncio.Event()

    async def never(call: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(readiness, "read_database", never)
    monkeypatch.setattr(readiness, "CHECK_S", 0.01)

    assert await missing() == ["database"]
    assert asked.is_set()


async def test_an_outage_is_known_without_asking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database.outage, "lasts", True)
    with broken_database("SELECT 1", AssertionError):
        assert await missing() == ["database"]


async def test_however_many_probe_the_database_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    asked = []
    select = readiness._select

    def count() -> None:
        asked.append(connections["default"].vendor)
        select()

    monkeypatch.setattr(readiness, "_select", count)

    assert await asyncio.gather(*[missing() for _ in range(50)]) == [[]] * 50
    await missing()
    assert len(asked) == 1
    clock[0] += readiness.KEPT_S
    await missing()
    assert len(asked) == 2


async def test_a_probe_that_hangs_up_leaves_the_check_to_the_others() -> None:
    first = asyncio.create_task(readiness._readiness.missing())
    await asyncio.sleep(0)
    second = asyncio.create_task(readiness._readiness.missing())
    await asyncio.sleep(0)
    first.cancel()

    assert await second == []


async def test_from_the_signal_on_it_is_not_ready() -> None:
    assert await missing() == []
    runtime.get()
    await runtime.drain(asyncio.Event())
    try:
        assert await missing() == ["draining"]
    finally:
        await runtime.shutdown()


async def test_the_example_for_haproxy_takes_out_who_stops_and_nobody_else() -> None:
    """What all workers lack at the same time must not take all of them out."""
    (word,) = re.findall(r"http-check expect ! string (\w+)", OPERATIONS)
    with broken_database("SELECT 1"):
        assert word not in (await probe()).text
        runtime.get()
        await runtime.drain(asyncio.Event())
        try:
            assert word in (await probe()).text
        finally:
            await runtime.shutdown()


async def test_without_redis_it_is_not_ready(
    redis: RedisServer, clock: list[float]
) -> None:
    assert await missing() == []

    redis.kill()
    clock[0] += readiness.KEPT_S
    assert await missing() == ["redis"]
    assert "draining" not in (await probe()).text
    clock[0] += readiness.KEPT_S
    assert await missing() == ["redis"]

    redis.start()

    async def is_back() -> bool:
        clock[0] += readiness.KEPT_S
        return await missing() == []

    await until(is_back)
