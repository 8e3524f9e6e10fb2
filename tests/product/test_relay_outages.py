"""Two workers whose Redis hangs or dies: local sessions continue, others get errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import httpx
import pytest

from tests.conftest import StartServer
from tests.product.test_relay import (
    LIMIT_S,
    Pair,
    Session,
    ask,
    assert_whole,
    polled_until_end,
)
from tests.support.live import Account
from tests.support.provider_lab import ThreadedEmulator, emulated, environment
from tests.support.redis_server import RedisServer
from tests.support.stress import STRESSED

# From the end of the outage until a session on the other worker is served again.
HEALED_S = 10.0 if STRESSED else 30.0


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedEmulator]:
    with emulated() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def pair(
    start_server: StartServer, redis: RedisServer, upstream: ThreadedEmulator
) -> Pair:
    shared = environment(upstream, REDIS_URL=redis.url)
    one = start_server("uvicorn", shared)
    shared["DATABASE_URL"] = f"sqlite:///{one.database}"
    return Pair(one, start_server("uvicorn", shared))


def outage(redis: RedisServer, kind: str) -> AbstractContextManager[None]:
    return {"hangs": redis.stopped, "dies": redis.down, "flaps": redis.flapping}[kind]()


@pytest.mark.parametrize("kind", ["hangs", "dies", "flaps"])
async def test_local_sessions_go_on_and_others_are_told(
    pair: Pair, redis: RedisServer, kind: str
) -> None:
    account = pair.one.account()
    async with httpx.AsyncClient(timeout=LIMIT_S) as http:
        local, relayed = Session(http, account), Session(http, account)
        for session in (local, relayed):
            await session.open(pair.one)
            await session.join(pair.one)
        with outage(redis, kind):
            await local.post(pair.one, ask(f"local-{kind}"))
            assert_whole(await polled_until_end(local, pair.one))
            if kind != "flaps":
                response = await http.get(relayed.url(pair.two, sid=relayed.sid))
                assert response.status_code == 503
            # A new client needs no other worker.
            fresh = Session(http, account)
            await fresh.open(pair.two)
            await fresh.join(pair.two)
        await healed(pair, http, account)
    for server in pair:
        log = server.log_text()
        assert "Traceback" not in log, log[-5000:]
        assert log.count("the channel layer does not answer") <= 20


async def healed(pair: Pair, http: httpx.AsyncClient, account: Account) -> None:
    """Wait until sessions are relayed again, which must be soon."""
    began = time.monotonic()
    async with asyncio.timeout(HEALED_S):
        while True:
            session = Session(http, account)
            await session.open(pair.one)
            url = session.url(pair.two, sid=session.sid)
            token = '40{"token":"' + account.access + '"}'
            if (await http.post(url, content=token)).status_code == 200:
                break
    print(f"\nhealed {time.monotonic() - began:.1f} s after the outage")
