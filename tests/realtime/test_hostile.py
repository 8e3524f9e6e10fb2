"""Clients that mean harm: what they get, and that no other client notices."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import suppress

import pytest

from tests.support.wire import LIMIT_S, RS, Wire, event, gone

MIB = 1024 * 1024


@pytest.mark.parametrize(
    "packet",
    [
        "42" + "[" * 9_000,
        '42["echo",' + "[" * 4_000 + "]" * 4_000 + "]",
        "42" + "9" * 5_000 + '["echo"]',
        "42٣" + '["echo"]',
        '42["echo",NaN]',
        '42["echo",Infinity]',
        '42["echo",' + "9" * 5_000 + "]",
        "42",
        "42{}",
        "42[]",
        "42[true]",
        "42[null]",
        '42["connect"]',
        '42["disconnecting"]',
        '42["newListener"]',
        "43[]",
        '40"x"',
        "40[]",
        "41{}",
        '44{"message":"x"}',
        '45["echo"]',
        '451000000000-["echo"]',
        '4511-["echo",{"_placeholder":true,"num":0}]',
        '450-["echo",{"_placeholder":true,"num":0}]',
        '42["echo"]]',
        '47["echo"]',
        '42/chat,["echo"]',
    ],
    ids=lambda packet: packet[:30],
)
async def test_illegal_packet_closes_and_is_no_error_of_ours(
    wire: Wire,
    packet: str,
) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        await client.send(packet)
        await client.expect_close(2)
    [reason] = await gone(wire, answer["sid"])
    assert reason in ("parse error", "forced close")
    await wire.check_healthy()


@pytest.mark.parametrize(
    "packet",
    [
        '42["echo",1e400]',
        '42["echo","\\ud800"]',
        '42["error"]',
        '42["__proto__",1]',
        '42["on_connect"]',
        "42[7,1]",
        "43999[1]",
        '42["join"]',
        '42["burst","x","y"]',
    ],
)
async def test_odd_packet_is_taken_or_ignored(
    wire: Wire,
    packet: str,
) -> None:
    async with wire.joined() as client:
        await client.send(packet, event("echo", "alive", ack_id=3))
        while (await client.receive()) != '433["alive"]':
            pass


async def test_hundred_thousand_brackets(wire: Wire) -> None:
    """They are refused for their size, before they can be parsed."""
    wire.needs_one_worker("the balancer has no part in HTTP's own limits")
    async with wire.polling() as polling:
        response = await polling.post("42" + "[" * 100_000)
        assert response.status_code == 413
    await wire.check_healthy()


@pytest.mark.parametrize(
    "frames",
    [
        ['451-["echo",{"_placeholder":true,"num":"0"}]', b"x"],
        ['451-["echo",{"_placeholder":true,"num":true}]', b"x"],
        ['451-["echo",{"_placeholder":true,"num":1}]', b"x"],
        ['451-["echo",{"_placeholder":true,"num":-1}]', b"x"],
        ['451-["echo",{"_placeholder":true}]', b"x"],
        ['452-["echo",{"_placeholder":true,"num":0}]', b"x", '42["echo"]'],
        [b"unannounced"],
        ['4510-["echo"]', *[b"x" * 9_000] * 6],
    ],
    ids=lambda frames: str(frames[0])[:40],
)
async def test_illegal_attachments_close(
    wire: Wire,
    frames: list[str | bytes],
) -> None:
    async with wire.joined() as client:
        await client.send(*frames)
        await client.expect_close(2)
    await wire.check_healthy()


async def test_attachments_before_joining_close(wire: Wire) -> None:
    async with wire.websocket() as client:
        await client.send('451-["echo",{"_placeholder":true,"num":0}]', b"x")
        await client.expect_close(2)


async def test_tiny_fragments_cost_nothing_lasting(
    wire: Wire,
) -> None:
    """130,000 fragments of one byte each make one frame, which is too long."""
    before = wire.rss()
    first, more = b"\x01\x81" + bytes(4) + b"4", b"\x00\x81" + bytes(4) + b"x"
    async with wire.websocket() as client:
        try:
            client.connection.transport.write(first)
            for _ in range(130):
                client.connection.transport.write(more * 1_000)
                await asyncio.sleep(0)
            client.connection.transport.write(b"\x80\x81" + bytes(4) + b"x")
        except OSError:
            pass
        await client.expect_close()
    await wire.check_healthy()
    assert wire.rss() - before < 30 * MIB


async def test_frame_of_two_mebibytes(wire: Wire) -> None:
    async with wire.websocket() as client:
        await client.send("4" + "x" * (2 * MIB))
        assert await client.expect_close() in (1006, 1009)
    await wire.check_healthy()


async def test_reserved_bits_end_the_connection(wire: Wire) -> None:
    async with wire.websocket() as client:
        client.connection.transport.write(b"\xf1\x81" + bytes(4) + b"x")
        await client.expect_close(2)
    await wire.check_healthy()


# Daphne reads every body completely before it calls the application.
@pytest.mark.parametrize("wire", ["uvicorn"], indirect=True)
async def test_endless_chunked_post_is_413_while_it_is_read(
    wire: Wire,
) -> None:
    async with wire.polling() as polling:
        before = wire.rss()
        answer, most = await asyncio.to_thread(write_endless_post, wire, polling.sid)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert most - before < 5 * MIB
        await polling.expect_end()
    await wire.check_healthy()


def write_endless_post(wire: Wire, sid: str) -> tuple[bytes, int]:
    """Return what came back, and the most memory that the server took.

    The server closes while this side writes. With asyncio, a write that fails would
    discard what has arrived.
    """
    target = wire.target(transport="polling", sid=sid)
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    most = 0
    with socket.create_connection(("127.0.0.1", wire.port), LIMIT_S) as connection:
        with suppress(OSError):
            connection.sendall(head.encode())
            for _ in range(50 * MIB // len(piece)):
                connection.sendall(piece)
                most = max(most, wire.rss())
        return connection.recv(100), most


async def test_announced_length_over_the_limit_is_413_at_once(
    wire: Wire,
) -> None:
    body = b"x" * 20_000 if wire.kind == "daphne" else b""  # daphne waits for all of it
    async with wire.polling() as polling:
        target = wire.target(transport="polling", sid=polling.sid)
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await asyncio.wait_for(reader.read(100), 20)
        assert answer.startswith(b"HTTP/1.1 413 ")
        writer.close()


async def test_flood_of_handshakes_expires(wire: Wire) -> None:
    """No client joins a namespace: all are gone after the time for that, 1.5 s."""
    sids = []
    async with wire.polling() as polling:
        for _ in range(200):
            response = await polling.http.get(wire.url(transport="polling"))
            sids.append(response.text[8:32])
        for sid in sids[::40]:
            polling.sid = sid
            response = await polling.get()
            assert response.status_code == 400 or response.text == "1"
    await wire.check_healthy()


async def test_resets_at_every_moment(wire: Wire) -> None:
    """Connections that die during a handshake, a poll or a post, or after a close."""
    async with wire.polling() as polling:
        await polling.join()
        requests = [
            f"GET {wire.target(transport='polling')} HTTP/1.1\r\nHost: x\r\n\r\n",
            f"POST {wire.target(transport='polling', sid='x')} HTTP/1.1\r\n"
            "Host: x\r\nContent-Length: 5\r\n\r\n4",
            f"GET {wire.target(transport='websocket')} HTTP/1.1\r\nHost: x\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            f"GET {wire.target(transport='bad')} HTTP/1.1\r\nHost: x\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ]
        for delay in (0, 0.0003, 0.001, 0.003) * 5:
            for request in requests:
                _, writer = await asyncio.open_connection("127.0.0.1", wire.port)
                writer.write(request.encode())
                await asyncio.sleep(delay)
                sock = writer.get_extra_info("socket")
                sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: reset
                writer.transport.abort()
        assert await polling.ask("echo", "alive") == ["alive"]
    await wire.check_healthy()


async def test_random_bytes_do_no_harm(wire: Wire) -> None:
    for _ in range(50):
        async with wire.websocket() as client:
            await client.send(os.urandom(40))
            await client.expect_close(2)
        async with wire.polling() as polling:
            await polling.post(os.urandom(60).replace(RS.encode(), b""))
    await wire.check_healthy()
