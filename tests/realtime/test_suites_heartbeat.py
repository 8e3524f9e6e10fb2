"""What the official suites ask of a server that pings, with their own interval.

The application pings every 300 ms, like theirs, and waits longer for the answer.
"""

from __future__ import annotations

import pytest

from tests.support.wire import Wire
from tests.support.wire_fixtures import ON_WORKERS_TOO

pytestmark = ON_WORKERS_TOO


@pytest.fixture(scope="module")
def profile() -> str:
    return "P"


async def test_01_polling_handshake_announces_the_options(either: Wire) -> None:
    async with either.polling() as client:
        assert isinstance(client.handshake.pop("sid"), str)
        assert client.handshake == {
            "upgrades": ["websocket"],
            "pingInterval": 300,
            "pingTimeout": 20000,
            "maxPayload": 1000000,
        }


async def test_03_websocket_handshake_offers_no_upgrades(either: Wire) -> None:
    async with either.websocket() as client:
        assert isinstance(client.handshake.pop("sid"), str)
        assert client.handshake == {
            "upgrades": [],
            "pingInterval": 300,
            "pingTimeout": 20000,
            "maxPayload": 1000000,
        }


async def test_10_polling_heartbeat(either: Wire) -> None:
    async with either.polling() as client:
        for _ in range(3):
            assert (await client.get()).text == "2"
            assert (await client.post("3")).status_code == 200


async def test_10_websocket_heartbeat(either: Wire) -> None:
    async with either.websocket() as client:
        for _ in range(3):
            assert await client.read() == "2"
            await client.send("3")


async def test_19_leaving_the_namespace_is_not_answered(sio: Wire) -> None:
    async with sio.websocket() as client:
        await client.send("40")
        await client.receive()
        await client.receive()
        await client.send("41")
        assert await client.read() == "2"


async def test_20_leaving_a_namespace_keeps_the_others(sio: Wire) -> None:
    async with sio.websocket() as client:
        await client.send("40")
        await client.receive()
        await client.receive()
        assert await client.read() == "2"
        await client.send("40/custom")
        await client.receive()
        await client.receive()
        await client.send("41/custom", '42["message","message to main namespace"]')
        answer = await client.receive()
        assert answer == '42["message-back","message to main namespace"]'
