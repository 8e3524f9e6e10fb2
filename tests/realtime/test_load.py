"""Clients that do not read, and what is left of sessions that have ended."""

from __future__ import annotations

import asyncio
import socket
import statistics
import time
from typing import Any

import pytest

from tests.support.wire import RS, Polling, WebSocket, Wire, event, http_client

pytestmark = pytest.mark.usefixtures("unmeasured")

MIB = 1024 * 1024
FLOOD = 50 * 1000 * 1000
SLOW = "slow_client: session closed with"


@pytest.fixture(scope="module")
def profile() -> str:
    return "S"


async def latency(client: WebSocket) -> float:
    started = time.perf_counter()
    await client.ask("echo", "x")
    return time.perf_counter() - started


async def watch(
    wire: Wire, healthy: WebSocket, flooded_before: int, socket_id: str
) -> tuple[int, int, list[float]]:
    """Measure until the flood has ended and its client is closed.

    The flood waits while its client is absent, until that is forgotten, and then
    continues without a receiver.
    """
    most, latencies, until_close = 0, [], 0
    async with asyncio.timeout(100):
        while True:
            latencies.append(await latency(healthy))
            most = max(most, wire.rss())
            [flooded] = await healthy.ask("flooded")
            [reasons] = await healthy.ask("ended", socket_id)
            if not reasons:
                until_close = flooded - flooded_before
            elif flooded - flooded_before >= FLOOD:
                return most, until_close, latencies
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("patient", [True, False], ids=["drains", "does not drain"])
async def test_client_that_does_not_read_costs_little_and_is_closed(
    wire: Wire,
    patient: bool,
) -> None:
    """Whether the emitter waits for it or not: in the end, 50 MB were emitted."""
    stuck = socket.create_connection(("127.0.0.1", wire.port))
    async with wire.joined() as healthy:
        [flooded] = await healthy.ask("flooded")
        quiet = [await latency(healthy) for _ in range(50)]
        before = wire.rss()
        async with wire.websocket(sock=stuck, max_queue=1) as client:
            answer = await client.join()
            await client.ask("flood", FLOOD, patient)
            # From here on it reads no more than fits its queue of one frame.
            most, ahead, latencies = await watch(wire, healthy, flooded, answer["sid"])
            client.connection.transport.abort()
        assert most - before < 5 * MIB
        assert not patient or ahead < 20 * MIB
        assert statistics.median(latencies) < statistics.median(quiet) + 0.05
        # One of them may be due to a machine that stalled.
        assert sorted(latencies)[-2] < 3
    assert SLOW in wire.log_text()
    await wire.check_healthy()


async def test_polling_client_that_stops_polling_is_closed(
    wire: Wire,
) -> None:
    async with wire.joined() as healthy, wire.polling() as client:
        [flooded] = await healthy.ask("flooded")
        before = wire.rss()
        answer = await client.join()
        await client.ask("flood", FLOOD, True)
        most, _, _ = await watch(wire, healthy, flooded, answer["sid"])
        assert most - before < 5 * MIB


async def test_client_that_reads_gets_a_flood_whole(
    wire: Wire,
) -> None:
    async with wire.joined() as client:
        await client.ask("flood", 5_000_000, True)
        for number in range(500):
            frame = await client.receive()
            assert frame.startswith('42["piece","x'), (number, frame[:40])


async def test_nothing_is_left_of_sessions_that_have_ended(
    wire: Wire,
) -> None:
    """Many of each kind are ended in every way; then the state is as it was before."""
    before = await settled(wire)
    await asyncio.gather(*[end_websockets(wire) for _ in range(5)])
    await asyncio.gather(*[end_pollings(wire) for _ in range(5)])
    after = await settled(wire)
    for name in ("sessions", "clients", "sockets"):
        assert after[name] == 1, (name, before, after)
    assert after["tasks"] <= before["tasks"]


async def settled(wire: Wire) -> dict[str, Any]:
    """Return what the server holds for one client once all others are forgotten."""
    previous: dict[str, Any] = {}
    async with wire.joined() as client, asyncio.timeout(30):
        while True:
            [state] = await client.ask("state")
            if state == previous and state["sessions"] == state["sockets"] == 1:
                return previous
            previous = state
            await asyncio.sleep(0.3)


async def end_websockets(wire: Wire) -> None:
    for number in range(40):
        async with wire.websocket() as client:
            await client.join()
            if number % 4 == 0:
                client.connection.transport.abort()
            elif number % 4 == 1:
                await client.send("41", "1")
            elif number % 4 == 2:
                await client.send("4illegal")


async def end_pollings(wire: Wire) -> None:
    async with http_client() as http:
        for number in range(40):
            client = Polling(wire, http)
            await client.open()
            await client.join()
            if number % 3 == 0:
                await client.post("41" + RS + "1")
            elif number % 3 == 1:
                await client.post("x")
            else:
                await client.post(event("echo", 1))
                await client.post("1")


async def test_handler_that_fails_ends_nothing(
    wire: Wire,
) -> None:
    async with wire.joined() as client:
        wire.expected_tracebacks += 2
        await client.send(event("fail"), event("fail", ack_id=1))
        assert await client.ask("echo", "alive") == ["alive"]
