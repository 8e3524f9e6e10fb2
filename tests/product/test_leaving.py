"""A worker that stops beside others sends its clients away as soon as it can."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from tests.conftest import StartServer
from tests.product.test_any_worker import (
    HASTY,
    beside,
    port_of,
    redis,
    upstream,
)
from tests.proxy import Proxy
from tests.support.live import LiveServer
from tests.support.provider_lab import ThreadedEmulator, environment
from tests.support.redis_server import RedisServer
from tests.support.stock_client import connected_client

__all__ = ["redis", "upstream"]

ENDLESS = {"provider": "openai", "model": "scenario-endless"}
DRAIN_S = 4.0
# How soon an idle client is sent away on a busy machine: before the drain is over.
SENT_AWAY_S = 3.0


@pytest.fixture(scope="module")
def shared(upstream: ThreadedEmulator, redis: RedisServer) -> dict[str, str]:
    return shared_env(upstream, redis)


def shared_env(upstream: ThreadedEmulator, redis: RedisServer) -> dict[str, str]:
    return environment(upstream, REDIS_URL=redis.url, LLMCHAT_DRAIN_S=str(DRAIN_S))


def tell(server: LiveServer) -> float:
    server.process.send_signal(signal.SIGTERM)
    return time.monotonic()


@pytest.mark.parametrize("transports", [("polling",), ("polling", "websocket")])
async def test_clients_that_wait_for_nothing_go_on_elsewhere_at_once(
    start_server: StartServer, shared: dict[str, str], transports: tuple[str, ...]
) -> None:
    leaving = start_server("uvicorn", shared)
    staying = start_server("uvicorn", beside(leaving, shared))
    account = leaving.account()
    options = {"transports": transports, "options": HASTY}
    async with (
        Proxy([port_of(leaving)]) as proxy,
        connected_client(proxy.url, account.access, **options) as idle,
        connected_client(proxy.url, account.access, **options) as busy,
    ):
        await busy.start("one", "Go one", **ENDLESS)
        first = await busy.event("llm:stream:token", "one")
        proxy.workers = [port_of(leaving), port_of(staying)]
        told = tell(leaving)

        assert (await idle.on("disconnect"))["reason"] == "transport close"
        assert time.monotonic() - told < SENT_AWAY_S
        assert (await idle.on("connect"))["recovered"] is True
        events = await idle.ask("two", "Hi", **ENDLESS | {"model": "scenario-short"})
        assert events[-1][0] == "llm:stream:done"

        # A client that receives an answer stays until its end.
        events = await busy.stream("one")
        assert time.monotonic() - told > DRAIN_S / 2
        assert events[-1][1]["code"] == "draining"
        text = first["token"] + "".join(data.get("token", "") for _, data in events)
        assert events[-1][1]["partialResponse"] == text
        assert (await busy.on("connect"))["recovered"] is True
    await asyncio.to_thread(leaving.process.wait, 30)
    assert leaving.process.returncode == 0
    assert "Traceback" not in leaving.log_text() + staying.log_text()


async def test_where_there_is_nobody_else_clients_stay(
    start_server: StartServer, upstream: ThreadedEmulator, redis_server: RedisServer
) -> None:
    alone = start_server("uvicorn", shared_env(upstream, redis_server))
    account = alone.account()
    async with (
        connected_client(alone.url, account.access) as idle,
        connected_client(alone.url, account.access) as busy,
    ):
        await busy.start("one", "Go one", **ENDLESS)
        await busy.event("llm:stream:token", "one")
        told = tell(alone)
        await idle.on("disconnect")
        assert time.monotonic() - told > DRAIN_S / 2
