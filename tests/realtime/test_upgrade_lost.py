"""Stock clients whose WebSocket is lost in the middle of their upgrade.

One that has seen the probe's pong sends and polls no more. It has only the answer to
the poll that waits then; without that it is mute until it misses a ping.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.proxy import Cut, Proxy
from tests.support.stock_client import NEWEST, OLDER, StockClient, stock_client
from tests.support.wire import Wire
from tests.support.wire_fixtures import ON_WORKERS_TOO

pytestmark = ON_WORKERS_TOO

PONG = b"3probe"
AT_ONCE = {"reconnectionDelay": 20, "randomizationFactor": 0}


@asynccontextmanager
async def cut_off(
    wire: Wire, cut: Cut, package: str = NEWEST
) -> AsyncIterator[StockClient]:
    """A client whose first upgrade comes to nothing."""
    async with Proxy([wire.port]) as proxy:
        proxy.cut = cut
        async with stock_client(proxy.url, package=package, options=AT_ONCE) as client:
            yield client
            assert cut.times == 0


async def comes_back(client: StockClient) -> bool:
    """Wait until the client is back, and has upgraded; return whether it recovered."""
    await client.on("connect")
    assert (await client.on("disconnect"))["reason"] == "transport close"
    again = await client.on("connect")
    await client.on("upgrade")
    [answer] = await client.call("echo", "again")
    assert answer == "again"
    return bool(again["recovered"])


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05])
async def test_client_that_has_seen_the_pong_comes_back_at_once(
    wire: Wire, after_s: float
) -> None:
    async with cut_off(wire, Cut(PONG, after_s=after_s)) as client:
        assert await comes_back(client)


@pytest.mark.parametrize("package", OLDER)
async def test_older_clients_come_back_at_once(wire: Wire, package: str) -> None:
    async with cut_off(wire, Cut(PONG), package) as client:
        await comes_back(client)


async def test_client_that_has_not_seen_the_pong_comes_back_as_well(
    wire: Wire,
) -> None:
    """The server cannot tell the two from one another."""
    async with cut_off(wire, Cut(PONG, passes=False)) as client:
        assert await comes_back(client)


async def test_client_whose_probe_dies_before_its_ping_polls_on(wire: Wire) -> None:
    """The bytes are the end of the WebSocket's handshake."""
    async with cut_off(wire, Cut(b"\r\n\r\n")) as client:
        assert (await client.on("connect"))["transport"] == "polling"
        for number in range(3):
            assert (await client.call("echo", number))[0] == number
        assert await client.quiet(for_s=0.2) == []
