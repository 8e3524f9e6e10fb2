"""Requests that come before the one ahead of them is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from serving.http_protocol import HttpProtocol

LIMIT_S = 20.0
FIRST = b"GET /first HTTP/1.1\r\nHost: localhost\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = (
    b"GET /socket HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Waiting:
    """An application that waits until its client is gone."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[str] = asyncio.Queue()
        self.left: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.put_nowait(scope["path"])
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.put_nowait(scope["path"])


async def client_of(
    application: Waiting,
) -> tuple[asyncio.Server, asyncio.StreamReader, asyncio.StreamWriter]:
    config = Config(
        application, ws="serving.websocket_protocol:WebSocketProtocol", log_config=None
    )
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: HttpProtocol(config, ServerState(), {}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    return server, reader, writer


@pytest.mark.parametrize("behind", [b"", NEXT, NEXT * 3])
async def test_a_request_hears_that_its_client_is_gone_whatever_comes_behind_it(
    behind: bytes,
) -> None:
    application = Waiting()
    server, _, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(FIRST + behind)
        assert await application.asked.get() == "/first"

        writer.transport.abort()

        assert await application.left.get() == "/first"
    assert application.asked.empty()


async def test_no_websocket_begins_before_a_response_that_is_due() -> None:
    application = Waiting()
    server, reader, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(FIRST + UPGRADE)

        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")

        assert await application.left.get() == "/first"
        writer.close()
    assert application.asked.get_nowait() == "/first"
    assert application.asked.empty()
