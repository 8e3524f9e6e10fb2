"""A server that stops closes what is open, in whatever state its connections are."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from uvicorn import Config, Server

from serving.http_protocol import HttpProtocol
from tests.support.door import Door

LIMIT_S = 20.0
UPGRADE = (
    b"GET /socket HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def until(check: Callable[[], bool]) -> None:
    """Wait until something is true for which there is no event."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            if check():
                return
            await asyncio.sleep(0.01)


class Application:
    """Accepts every WebSocket, responds late, and notes the server's stop."""

    def __init__(self) -> None:
        self.is_told = False
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.is_told = True
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] == "http":
            self.asked.append(scope["path"])
            await self.may_answer.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"!"})
            return
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass


class Running:
    """A server, and how it stops."""

    def __init__(self) -> None:
        self.application = Application()
        config = Config(
            self.application,
            http="serving.http_protocol:HttpProtocol",
            ws="serving.websocket_protocol:WebSocketProtocol",
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            timeout_graceful_shutdown=10,
            log_config=None,
        )
        self.server = Server(config)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.task = asyncio.create_task(self.server._serve([self._listening]))

    async def connect(self) -> Connection:
        """Return a new client's connection."""
        return await asyncio.open_connection(*self._listening.getsockname())

    def close(self) -> None:
        """Close what a failed server has left open."""
        self._listening.close()
        for connection in list(self.server.server_state.connections):
            connection.transport.abort()

    @property
    def protocol(self) -> Any:
        """The only connection, as the server has it."""
        (protocol,) = self.server.server_state.connections
        return protocol

    async def stop(self) -> None:
        """Stop the server; raise whatever keeps it from stopping."""
        self.server.should_exit = True
        async with asyncio.timeout(LIMIT_S):
            await self.task


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    made = Running()
    await until(lambda: made.server.started)
    yield made
    made.server.should_exit = made.server.force_exit = True
    await asyncio.wait([made.task])
    made.close()


async def test_a_socket_that_cannot_be_closed_in_order_is_dropped(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await running.connect()
    writer.write(UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    running.protocol.conn.send_close = None  # so that calling it raises
    other, other_writer = await running.connect()
    await until(lambda: len(running.server.server_state.connections) == 2)

    await running.stop()

    assert await reader.read() == b""
    assert await other.read() == b""
    assert running.application.is_told
    assert "could not be closed cleanly" in caplog.text
    writer.close()
    other_writer.close()


@pytest.mark.parametrize("more", [b"", b"GET /later HTTP/1.1\r\n\r\n", b"nonsense"])
async def test_of_the_requests_of_a_connection_the_one_in_work_is_answered(
    running: Running, more: bytes
) -> None:
    """The others are not begun. The client learns that, and can use another server."""
    reader, writer = await running.connect()
    writer.write(b"GET /first HTTP/1.1\r\n\r\n" + b"GET /next HTTP/1.1\r\n\r\n" * 10)
    await until(lambda: len(running.protocol.pipeline) == 10)
    stopping = asyncio.create_task(running.stop())
    await until(lambda: not running.protocol.pipeline)
    writer.write(more)
    await asyncio.sleep(0.05)  # so that it arrives before the response

    running.application.may_answer.set()

    answer = await reader.read()
    assert answer.count(b"HTTP/1.1 200 ") == answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nconnection: close\r\n" in answer
    await stopping
    assert running.application.asked == ["/first"]
    assert running.application.is_told
    writer.close()


async def test_a_request_that_waits_for_its_turn_is_answered(
    running: Running, door: Door
) -> None:
    running.application.may_answer.set()
    door.close()
    reader, writer = await running.connect()
    writer.write(b"GET /first HTTP/1.1\r\n\r\n")
    await door.somebody()

    await running.stop()
    door.let_in()

    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert running.application.asked == ["/first"]
    writer.close()


async def test_a_websocket_that_waits_for_its_turn_is_refused(
    running: Running, door: Door
) -> None:
    door.close()
    reader, writer = await running.connect()
    writer.write(UPGRADE)
    await door.somebody()

    await running.stop()

    assert (await reader.read()).startswith(b"HTTP/1.1 500 ")
    writer.close()


async def test_what_waits_for_its_turn_and_cannot_be_parsed_does_not_hinder_the_stop(
    running: Running,
    door: Door,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(HttpProtocol, "_parse", None)  # so that calling it raises
    door.close()
    reader, writer = await running.connect()
    writer.write(b"GET /first HTTP/1.1\r\n\r\n")
    await door.somebody()
    other, other_writer = await running.connect()
    await until(lambda: len(running.server.server_state.connections) == 2)

    await running.stop()

    assert await reader.read() == b""
    assert await other.read() == b""
    assert running.application.is_told
    assert "could not be parsed" in caplog.text
    writer.close()
    other_writer.close()
