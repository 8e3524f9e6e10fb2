"""From polling to WebSocket, with everything that can happen in between."""

from __future__ import annotations

import asyncio
import hashlib
import struct
import time

import pytest
from websockets.exceptions import InvalidStatus

from tests.support.wire import (
    RS,
    Polling,
    WebSocket,
    Wire,
    content_of,
    event,
    eventually,
    gone,
)


async def probe(client: WebSocket) -> None:
    await client.send("2probe")
    assert await client.read() == "3probe"


async def upgrade(polling: Polling, client: WebSocket) -> None:
    await probe(client)
    await client.send("5")


async def upgrade_whole(client: WebSocket) -> None:
    """Upgrade without a pause, and use the upgraded connection."""
    await client.send("2probe", "5", event("echo", 1, ack_id=0))
    assert await client.read() == "3probe"
    assert await client.receive() == "430[1]"


async def test_every_poll_while_probing_is_answered_at_once(
    wire: Wire,
) -> None:
    """The stock client may begin one more before it has seen the probe's answer."""
    async with wire.polling() as polling:
        await polling.join()
        held = await polling.hold()
        async with wire.websocket(polling.upgrade_query) as client:
            await probe(client)
            assert (await held).text == "6"
            for _ in range(3):
                # If a poll were held, the next ping would answer it.
                assert (await polling.get()).text == "6"


async def test_waiting_packets_go_before_the_noop(wire: Wire) -> None:
    async with (
        wire.polling() as polling,
        wire.websocket(polling.upgrade_query) as client,
    ):
        await polling.join()
        await probe(client)
        await polling.post(event("echo", 1))  # POSTs are still taken
        await wire.catch_up()
        assert content_of((await polling.get()).text)[:2] == ["echo", 1]
        assert (await polling.get()).text == "6"
        await client.send("5", event("echo", 2, ack_id=0))
        assert await client.receive() == "430[2]"
        assert await polling_is_over(polling)


async def polling_is_over(polling: Polling) -> bool:
    responses = [await polling.get(), await polling.post("3")]
    # The worker that a session has left no longer knows it.
    codes = {3} if len(polling.wire.ports) == 1 else {1, 3}
    return all(r.status_code == 400 and r.json()["code"] in codes for r in responses)


async def test_held_poll_is_released_by_the_upgrade(wire: Wire) -> None:
    async with wire.polling() as polling:
        await polling.join()
        held = await polling.hold()
        async with wire.websocket(polling.upgrade_query) as client:
            await client.send("5", event("echo", 1, ack_id=0))
            assert await client.receive() == "430[1]"
            assert (await held).text == "6"


async def test_queue_is_flushed_to_the_websocket_in_order(
    wire: Wire,
) -> None:
    async with (
        wire.polling() as polling,
        wire.websocket(polling.upgrade_query) as client,
    ):
        await polling.join()
        await polling.post(event("burst", 30))
        await client.send("2probe", "5", event("echo", "last", ack_id=0))
        assert await client.read() == "3probe"
        frames = [await client.receive() for _ in range(31)]
        assert [content_of(frame)[1] for frame in frames[:30]] == list(range(30))
        assert frames[30] == '430["last"]'


@pytest.mark.parametrize("wrong", ["4hello", "2", "x", b"\x01", "6"])
async def test_anything_else_closes_the_probe_alone(
    wire: Wire,
    wrong: str | bytes,
) -> None:
    async with wire.polling() as polling:
        await polling.join()
        async with wire.websocket(polling.upgrade_query) as client:
            await client.send(wrong)
            await client.expect_close(2)
        assert await polling.ask("echo", "unharmed") == ["unharmed"]
        async with wire.websocket(polling.upgrade_query) as client:
            await upgrade_whole(client)


async def test_probe_that_is_lost_may_be_followed_by_another(
    wire: Wire,
) -> None:
    async with wire.polling() as polling:
        await polling.join()
        async with wire.websocket(polling.upgrade_query) as client:
            await probe(client)
            client.connection.transport.abort()
        held = await polling.hold()
        assert not held.done() or (await held).text == "6"
        await polling.post(event("echo", 1))
        text = (await held).text
        if text == "6":
            text = (await polling.get()).text
        assert content_of(text)[:2] == ["echo", 1]
        async with wire.websocket(polling.upgrade_query) as client:
            await upgrade_whole(client)


async def test_upgrade_that_takes_too_long_closes_the_probe_alone(
    wire: Wire,
) -> None:
    async with wire.polling() as polling:
        await polling.join()
        async with wire.websocket(polling.upgrade_query) as client:
            await probe(client)
            started = time.monotonic()
            await client.expect_close()
            assert time.monotonic() - started > 1.2
        assert await polling.ask("echo", 1) == [1]


async def test_second_probe_is_accepted_and_closed(wire: Wire) -> None:
    async with (
        wire.polling() as polling,
        wire.websocket(polling.upgrade_query) as client,
    ):
        await polling.join()
        async with wire.websocket(polling.upgrade_query) as second:
            await second.expect_close(2)
        await upgrade_whole(client)


async def test_websocket_session_cannot_be_upgraded_again(
    wire: Wire,
) -> None:
    async with wire.joined() as client:
        query = f"EIO=4&transport=websocket&sid={client.sid}"
        async with wire.websocket(query) as second:
            await second.expect_close(2)
        await client.send(event("echo", 1, ack_id=0))
        assert await client.receive() == "430[1]"


async def test_unknown_session_is_refused(wire: Wire) -> None:
    with pytest.raises(InvalidStatus):
        async with wire.websocket("EIO=4&transport=websocket&sid=unknown"):
            pass


async def test_session_that_ends_takes_its_probe_along(
    wire: Wire,
) -> None:
    async with (
        wire.polling() as polling,
        wire.websocket(polling.upgrade_query) as client,
    ):
        answer = await polling.join()
        await probe(client)
        await polling.post("1")
        await client.expect_close(2)
        assert await gone(wire, answer["sid"]) == ["transport close"]


async def test_close_during_the_probe_is_finished_by_the_upgrade(
    wire: Wire,
) -> None:
    async with (
        wire.polling() as polling,
        wire.websocket(polling.upgrade_query) as client,
    ):
        await polling.join()
        await probe(client)
        await polling.post(event("kill"))
        await wire.catch_up()
        await client.send("5")
        assert await client.receive() == "41"
        await client.expect_close(2)


async def test_close_during_the_probe_is_finished_by_polling(
    wire: Wire,
) -> None:
    async with (
        wire.polling() as polling,
        wire.websocket(polling.upgrade_query) as client,
    ):
        await polling.join()
        await probe(client)
        await polling.post(event("kill"))
        await wire.catch_up()
        assert [(await polling.get()).text for _ in range(2)] == ["41", "1"]
        await client.expect_close(2)


async def test_heartbeat_goes_on_through_an_upgrade(wire: Wire) -> None:
    started = time.monotonic()
    async with (
        wire.polling() as polling,
        wire.websocket(polling.upgrade_query) as client,
    ):
        await polling.join()
        await upgrade(polling, client)
        assert await client.read() == "2"
        assert time.monotonic() - started > 1.8


async def test_mute_after_an_upgrade_still_ends_by_the_heartbeat(
    wire: Wire,
) -> None:
    async with wire.polling() as polling:
        answer = await polling.join()
        assert (await polling.get()).text == "2"
        async with wire.websocket(polling.upgrade_query) as client:
            await upgrade(polling, client)
            await client.expect_close()
        assert await gone(wire, answer["sid"]) == ["ping timeout"]


@pytest.mark.parametrize("round_", range(5))
async def test_nothing_is_lost_or_doubled_in_mid_stream(
    wire: Wire,
    round_: int,
) -> None:
    """Events flow both ways while the transport changes under them."""
    received: list[int] = []
    async with wire.polling() as polling:
        await polling.join()

        async def poll() -> None:
            while True:
                for packet in (await polling.get()).text.split(RS):
                    if packet == "6":
                        return
                    if packet != "2":
                        received.append(content_of(packet)[1])

        poller = asyncio.create_task(poll())
        for number in range(10):
            await polling.post(event("echo", number))
        async with wire.websocket(polling.upgrade_query) as client:
            await client.send("2probe")
            for number in range(10, 10 + 3 * round_):
                await polling.post(event("echo", number))
            assert await client.read() == "3probe"
            await poller
            await client.send("5")
            for number in range(10 + 3 * round_, 100):
                await client.send(event("echo", number))
            while len(received) < 100:
                received.append(content_of(await client.receive())[1])
    digest = hashlib.sha256(repr(received).encode()).digest()
    assert digest == hashlib.sha256(repr(list(range(100))).encode()).digest()


async def test_reset_in_the_middle_of_an_upgrade(wire: Wire) -> None:
    """The connection dies at one of several moments of the WebSocket handshake."""
    async with wire.polling() as polling:
        await polling.join()
        for delay in (0, 0, 0, 0.0005, 0.001, 0.002, 0.005) * 5:
            _, writer = await asyncio.open_connection("127.0.0.1", wire.port)
            request = (
                f"GET {wire.path}?{polling.upgrade_query} HTTP/1.1\r\n"
                "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            # A masked text frame "2probe" follows immediately.
            frame = b"\x81\x86" + bytes(4) + b"2probe"
            writer.write(request.encode() + frame)
            await asyncio.sleep(delay)
            sock = writer.get_extra_info("socket")
            sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: reset
            writer.transport.abort()
        assert await polling.ask("echo", "alive") == ["alive"]
    await eventually(lambda: wire.process.poll() is None)
    await wire.check_healthy()
