"""The stock client behind a load balancer that sends each request to another worker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.product.test_relay import Pair
from tests.proxy import Proxy
from tests.support.live import LiveServer
from tests.support.provider_lab import ThreadedEmulator, emulated, environment
from tests.support.redis_server import RedisServer
from tests.support.stock_client import ENDS, connected_client

TRANSPORTS = {
    "both": ("polling", "websocket"),
    "polling": ("polling",),
    "websocket": ("websocket",),
}
TRICKLE = {"provider": "openai", "model": "scenario-trickle"}
ENDLESS = {"provider": "openai", "model": "scenario-endless"}
# How soon the stock client reconnects.
HASTY = {"reconnectionDelay": 20, "reconnectionDelayMax": 200}
by_each_transport = pytest.mark.parametrize(
    "transports", TRANSPORTS.values(), ids=TRANSPORTS
)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedEmulator]:
    with emulated() as emulator:
        yield emulator


def start_pair(start_server: StartServer, shared: dict[str, str]) -> Pair:
    one = start_server("uvicorn", shared)
    return Pair(one, start_server("uvicorn", beside(one, shared)))


def beside(server: LiveServer, shared: dict[str, str]) -> dict[str, str]:
    """Return the environment of another worker that shares a server's database."""
    return {**shared, "DATABASE_URL": f"sqlite:///{server.database}"}


@pytest.fixture(scope="module")
def pair(
    start_server: StartServer, redis: RedisServer, upstream: ThreadedEmulator
) -> Iterator[Pair]:
    pair = start_pair(start_server, environment(upstream, REDIS_URL=redis.url))
    yield pair
    for server in pair:
        log = server.log_text()
        assert "Traceback" not in log, log[-5000:]


def port_of(server: LiveServer) -> int:
    return int(server.url.rpartition(":")[2])


@pytest.fixture
async def proxy(pair: Pair) -> AsyncIterator[Proxy]:
    async with Proxy([port_of(server) for server in pair]) as running:
        yield running


def assert_whole(events: list[tuple[str, dict[str, Any]]]) -> None:
    names = [name for name, _ in events]
    assert names[0] == "llm:stream:start"
    assert names[-1] == "llm:stream:done", events[-1]
    assert set(names[1:-1]) <= {"llm:stream:token"}
    text = "".join(data["token"] for name, data in events if name == names[1])
    assert text == events[-1][1]["fullResponse"] != ""


@by_each_transport
async def test_a_conversation_by_each_transport(
    pair: Pair, proxy: Proxy, transports: tuple[str, ...]
) -> None:
    account = pair.one.account()
    async with connected_client(
        proxy.url, account.access, transports=transports
    ) as client:
        for number in range(3):
            events = await client.ask(f"ask-{number}", f"Go {number}", **TRICKLE)
            assert_whole(events)
        await client.start("cancelled", "Go on", **ENDLESS)
        await client.event("llm:stream:token", "cancelled")
        [ack] = await client.call("llm:stream:cancel", {"sessionId": "cancelled"})
        assert ack["ok"] is True
        events = await client.stream("cancelled")
        assert events[-1][0] == "llm:stream:cancelled"


@by_each_transport
async def test_a_client_that_is_cut_off_again_and_again_has_it_all(
    pair: Pair, proxy: Proxy, transports: tuple[str, ...]
) -> None:
    account, dice = pair.one.account(), random.Random(len(transports))
    options = {"transports": transports, "options": HASTY}
    recovered = []
    async with connected_client(proxy.url, account.access, **options) as client:
        for number in range(4):
            session_id = f"cut-{number}"
            await client.start(session_id, f"Go {number}", **TRICKLE)
            heard = [("llm:stream:start", await client.event("llm:stream:start"))]
            for _ in range(dice.randrange(1, 4)):
                token = await client.event("llm:stream:token", session_id)
                heard.append(("llm:stream:token", token))
            # Between two polls there is no connection, or only an answered one.
            noticed = asyncio.create_task(client.on("disconnect"))
            while not noticed.done():
                proxy.reset_all()
                await asyncio.sleep(0.005)
            await noticed
            recovered.append((await client.on("connect"))["recovered"])
            assert_whole(heard + await client.stream(session_id))
    assert recovered == [True] * len(recovered)


async def test_two_clients_hear_one_answer_and_one_cancels_it_for_both(
    pair: Pair, proxy: Proxy
) -> None:
    account = pair.one.account()
    async with (
        connected_client(proxy.url, account.access) as one,
        connected_client(proxy.url, account.access) as two,
    ):
        await one.start("shared", "Go", **ENDLESS)
        await one.event("llm:stream:token", "shared")
        [ack] = await two.call("llm:stream:attach", {"sessionId": "shared"})
        assert ack["ok"] is True
        await two.event("llm:stream:token", "shared")
        await two.call("llm:stream:cancel", {"sessionId": "shared"})
        for client in (one, two):
            events = await client.stream("shared")
            assert events[-1][0] == "llm:stream:cancelled"
            late = await client.quiet(for_s=0.3)
            assert not [r for r in late if r.get("name") in ENDS]


async def test_the_clients_of_a_worker_that_dies_hear_of_each_end(
    start_server: StartServer, redis: RedisServer, upstream: ThreadedEmulator
) -> None:
    shared = environment(upstream, REDIS_URL=redis.url)
    pair = start_pair(start_server, shared)
    async with (
        Proxy([port_of(pair.one)]) as proxy,
        connected_client(proxy.url, pair.one.account().access, options=HASTY) as client,
    ):
        names = [f"dies-{number}" for number in range(3)]
        for name in names:
            await client.start(name, f"Go {name}", **ENDLESS)
            await client.event("llm:stream:token", name)
        proxy.workers = [port_of(pair.two)]
        pair.one.process.kill()
        assert (await client.on("connect"))["recovered"] is True
        for name in names:
            events = await client.stream(name)
            assert events[-1][0] == "llm:stream:error"
            assert events[-1][1]["code"] == "interrupted"
        late = await client.quiet(for_s=0.5)
        assert not [report for report in late if report["on"] == "event"]
