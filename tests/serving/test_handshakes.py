"""WebSocket handshakes that nobody completes: the client, or the application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from serving.websocket_protocol import WebSocketProtocol

HANDSHAKE = (
    b"GET /socket.io/ HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CLOSE_FRAME = b"\x88\x80\x00\x00\x00\x00"
NONSENSE = b"\xff" * 20


class Hesitant:
    """An application that is asked to accept, and does so late or never."""

    def __init__(self) -> None:
        self.asked, self.accepts = asyncio.Event(), asyncio.Event()
        self.ended = asyncio.Event()
        self.is_willing = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            assert (await receive())["type"] == "websocket.connect"
            self.asked.set()
            if self.is_willing:
                await self.accepts.wait()
                await send({"type": "websocket.accept", "headers": []})
            while (await receive())["type"] != "websocket.disconnect":
                pass
        finally:
            self.ended.set()


@pytest.fixture
async def application() -> Hesitant:
    return Hesitant()


@pytest.fixture
async def client(
    application: Hesitant,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = Config(application, log_config=None)
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: WebSocketProtocol(config, ServerState(), {}), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HANDSHAKE)
    yield reader, writer
    writer.close()
    server.close()


@pytest.mark.parametrize("is_willing", [True, False])
@pytest.mark.parametrize("frame", [CLOSE_FRAME, NONSENSE], ids=["close", "nonsense"])
async def test_one_that_its_client_breaks_off_is_no_fault_of_the_application(
    application: Hesitant,
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    frame: bytes,
    is_willing: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader, writer = client
    logging.getLogger("uvicorn.error").addHandler(caplog.handler)
    application.is_willing = is_willing
    async with asyncio.timeout(10):
        await application.asked.wait()
        writer.write(frame)
        assert await reader.read() == b""
        application.accepts.set()
        await application.ended.wait()
    await asyncio.sleep(0)
    assert [r.message for r in caplog.records if r.levelname != "INFO"] == []
