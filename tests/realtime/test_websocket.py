"""WebSocket sessions and their heartbeat."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.wire import Wire, content_of, event, gone

# What does not depend on the server below is tested with one of them.
on_uvicorn = pytest.mark.parametrize("wire", ["uvicorn"], indirect=True)


async def test_each_frame_is_one_packet(wire: Wire) -> None:
    async with wire.joined() as client:
        await client.send(event("burst", 3))
        frames = [await client.receive() for _ in range(3)]
        assert [content_of(frame)[1] for frame in frames] == [0, 1, 2]


async def test_base64_in_a_text_frame_is_understood(
    wire: Wire,
) -> None:
    async with wire.joined() as client:
        await client.send('451-0["echo",{"_placeholder":true,"num":0}]', "bAQID")
        assert await client.receive() == '461-0[{"_placeholder":true,"num":0}]'
        assert await client.receive() == b"\x01\x02\x03"


async def test_b64_client_gets_no_binary_frames(wire: Wire) -> None:
    async with wire.websocket("EIO=4&transport=websocket&b64=1") as client:
        await client.read()
        await client.join()
        await client.send('451-0["echo",{"_placeholder":true,"num":0}]', "bAQID")
        assert await client.receive() == '461-0[{"_placeholder":true,"num":0}]'
        assert await client.receive() == "bAQID"


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("", "parse error"),
        ("7", "parse error"),
        ("x", "parse error"),
        ("b!", "parse error"),
        ("2", "transport error"),
        ("2probe", "transport error"),
        ("1", "transport close"),
    ],
)
async def test_frame_that_ends_the_session(
    wire: Wire,
    frame: str,
    reason: str,
) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        await client.send(frame)
        assert await client.expect_close() in (1000, 1005)
        assert await gone(wire, answer["sid"]) == [reason]


async def test_open_upgrade_and_noop_are_ignored(wire: Wire) -> None:
    async with wire.joined() as client:
        await client.send("0", "5", "6", event("echo", 1, ack_id=0))
        assert await client.receive() == "430[1]"


@pytest.mark.parametrize("frame", ["4" + "x" * 10_000, b"x" * 10_001])
async def test_oversized_frame_closes_with_1009(
    wire: Wire,
    frame: str | bytes,
) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        await client.send(frame)
        assert await client.expect_close() == 1009
        reasons = await gone(wire, answer["sid"])
        assert reasons in (["transport error"], ["transport close"])


# Uvicorn closes with 1007 and logs its own traceback.
@pytest.mark.parametrize("wire", ["daphne"], indirect=True)
async def test_invalid_utf8_ends_the_connection(wire: Wire) -> None:
    async with wire.websocket() as client:
        await client.connection.send(b"\xff\xfe", text=True)
        assert await client.expect_close() in (1006, 1007)


async def test_lost_connection_is_a_transport_close(wire: Wire) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        client.connection.transport.abort()
        assert await gone(wire, answer["sid"]) == ["transport close"]


async def test_close_frame_is_a_transport_close(wire: Wire) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        await client.connection.close()
        assert await gone(wire, answer["sid"]) == ["transport close"]


async def test_offered_subprotocols_are_no_obstacle(wire: Wire) -> None:
    async with wire.websocket(subprotocols=["a", "b"]) as client:
        await client.join()
        assert client.connection.subprotocol is None


async def test_queued_packets_precede_the_close(wire: Wire) -> None:
    async with wire.joined() as client:
        await client.send(event("burst", 50), event("kill"))
        frames = [await client.receive() for _ in range(51)]
        assert [content_of(frame)[1] for frame in frames[:50]] == list(range(50))
        assert frames[50] == "41"
        await client.expect_close()


async def test_fragmented_frame_is_one_packet(wire: Wire) -> None:
    async with wire.joined() as client:
        text = event("echo", "in pieces", ack_id=5)
        await client.connection.send(iter(text))
        assert await client.receive() == '435["in pieces"]'


# --- Heartbeat: a ping each 2 s, 1 s for the pong ----------------------------------


async def test_pings_come_an_interval_after_each_pong(
    wire: Wire,
) -> None:
    for _ in range(3):
        # The machine may stall for longer than a pong may take.
        with suppress(ConnectionClosed):
            async with wire.joined() as client:
                assert await client.read() == "2"
                await asyncio.sleep(0.5)  # not an interval after the ping
                ponged = time.monotonic()
                await client.send("3")
                assert await client.read() == "2"
                assert 1.9 < time.monotonic() - ponged < 15
                return
    pytest.fail("it was closed each time")


@on_uvicorn
async def test_other_traffic_does_not_count_as_a_pong(
    wire: Wire,
) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        started = time.monotonic()

        async def chatter() -> None:
            while True:
                await client.send(event("echo", "x", ack_id=1))
                await asyncio.sleep(0.2)

        task = asyncio.create_task(chatter())
        await client.expect_close()
        task.cancel()
        await asyncio.wait([task])
        assert 2.5 < time.monotonic() - started < 15
        assert await gone(wire, answer["sid"]) == ["ping timeout"]


@on_uvicorn
async def test_ten_thousand_unasked_pongs_are_harmless(
    wire: Wire,
) -> None:
    async with wire.joined() as client:
        await client.send(*["3"] * 10_000)
        await client.send(event("echo", 1, ack_id=0))
        assert await client.receive() == "430[1]"


@on_uvicorn
async def test_bulk_data_does_not_starve_pings(wire: Wire) -> None:
    async with wire.joined() as client:
        pinged = False
        async with asyncio.timeout(15):
            while not pinged:
                await client.send(event("burst", 200))
                for _ in range(200):
                    frame = await client.read()
                    if frame == "2":
                        pinged = True
                        await client.send("3")
        await client.send(event("echo", 1, ack_id=0))
        while (await client.receive()) != "430[1]":
            pass


@on_uvicorn
async def test_empty_binary_message_does_not_stop_the_rest(
    wire: Wire,
) -> None:
    async with wire.joined() as client:
        await client.send('451-0["echo",{"_placeholder":true,"num":0}]', b"")
        assert await client.receive() == '461-0[{"_placeholder":true,"num":0}]'
        assert await client.receive() in (b"", "b")
        await client.send(event("echo", 1, ack_id=0))
        assert await client.receive() == "430[1]"


async def test_control_frames_are_the_servers_affair(
    wire: Wire,
) -> None:
    async with wire.websocket() as client:
        answered = await client.connection.ping()
        await asyncio.wait_for(answered, 10)
        await client.join()
