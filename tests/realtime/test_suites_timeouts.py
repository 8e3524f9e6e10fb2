"""What the official suites ask of a server's timeouts, with their own timings."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.wire import Wire
from tests.support.wire_fixtures import ON_WORKERS_TOO

pytestmark = ON_WORKERS_TOO


@pytest.fixture(scope="module")
def profile() -> str:
    return "A"


async def test_01_the_suites_timings_are_announced(either: Wire) -> None:
    async with either.polling() as client:
        assert client.handshake["pingInterval"] == 300
        assert client.handshake["pingTimeout"] == 200


async def test_11_mute_polling_client_is_closed(either: Wire) -> None:
    async with either.polling() as client:
        await asyncio.sleep(1)
        assert (await client.get()).status_code == 400


async def test_11_mute_websocket_client_is_closed(either: Wire) -> None:
    async with either.websocket() as client:
        await client.expect_close(within_s=10)


async def test_18_silence_closes(wire: Wire) -> None:
    wire.path = "/socket.io/"
    async with wire.websocket() as client:
        await client.expect_close(within_s=10)
