"""WebSocket handshakes that the client or the application does not complete."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from serving.http_protocol import HttpProtocol
from serving.websocket_protocol import WebSocketProtocol

HANDSHAKE = (
    b"GET /socket.io/ HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CLOSE_FRAME = b"\x88\x80\x00\x00\x00\x00"
NONSENSE = b"\xff" * 20
LIMIT_S = 10.0


class Hesitant:
    """An application that accepts a WebSocket late or never."""

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
    server, reader, writer = await client_of(application, WebSocketProtocol)
    writer.write(HANDSHAKE)
    yield reader, writer
    writer.close()
    server.close()


async def client_of(
    application: Any, protocol: Any, state: ServerState | None = None
) -> tuple[asyncio.Server, asyncio.StreamReader, asyncio.StreamWriter]:
    config = Config(
        application,
        ws="serving.websocket_protocol:WebSocketProtocol",
        ws_per_message_deflate=False,
        log_config=None,
    )
    config.load()
    state = state or ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(config, state, {}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    return server, reader, writer


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
    async with asyncio.timeout(LIMIT_S):
        await application.asked.wait()
        writer.write(frame)
        assert await reader.read() == b""
        application.accepts.set()
        await application.ended.wait()
    await asyncio.sleep(0)
    assert [r.message for r in caplog.records if r.levelname != "INFO"] == []


HEAD = HANDSHAKE[:-2]


@pytest.mark.parametrize(
    ("handshake", "status"),
    [
        (HEAD + b"x: 1\r\n" * 130 + b"\r\n", b"431"),
        (HEAD + b"Cookie: a=" + b"b" * 9000 + b"\r\n\r\n", b"431"),
        (HEAD.replace(b"/socket.io/", b"/" + b"a" * 9000) + b"\r\n", b"414"),
        (HEAD + b"Content-Length: 5\r\n\r\nhello", b"400"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (HEAD + b"Cookie: a=\xff\r\n folded: b\r\n\r\n", b"400"),
        (HEAD.replace(b"GET", b"POST") + b"\r\n", b"405"),
        (HEAD.replace(b"/socket.io/", b"/\xe9") + b"\r\n", b"400"),
    ],
    ids=["headers", "cookie", "line", "body", "chunks", "fold", "post", "path"],
)
async def test_one_that_is_not_understood_is_answered_and_forgotten(
    application: Hesitant, handshake: bytes, status: bytes
) -> None:
    """Nothing of the handshake reaches the application or stays in the server."""
    state = ServerState()
    server, reader, writer = await client_of(application, HttpProtocol, state)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(handshake)
        answer = await reader.read()
        writer.close()
    assert answer.split()[1] == status
    assert not application.asked.is_set()
    assert not state.connections


async def test_one_that_does_not_arrive_is_dropped(
    application: Hesitant, settings: Any
) -> None:
    settings.LLMCHAT = {**settings.LLMCHAT, "request_timeout_s": 0.2}
    server, reader, writer = await client_of(application, WebSocketProtocol)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(HANDSHAKE[:-2])
        assert await reader.read() == b""
        writer.close()


async def test_one_that_is_whole_has_no_deadline_any_more(
    application: Hesitant, settings: Any
) -> None:
    settings.LLMCHAT = {**settings.LLMCHAT, "request_timeout_s": 0.2}
    server, reader, writer = await client_of(application, WebSocketProtocol)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(HANDSHAKE)
        await application.asked.wait()
        await asyncio.sleep(0.4)  # the passing of time is what is tested
        application.accepts.set()
        assert (await reader.readuntil(b"\r\n")).split()[1] == b"101"
        writer.close()


@pytest.mark.parametrize(
    ("handshake", "status"),
    [(HANDSHAKE, b"101"), (HANDSHAKE.replace(b"Version: 13", b"Version: 9"), b"400")],
    ids=["accepted", "refused"],
)
async def test_nothing_of_http_is_left_behind_one(
    application: Hesitant, handshake: bytes, status: bytes
) -> None:
    made: list[weakref.ref[HttpProtocol]] = []

    def remembered(*args: Any) -> HttpProtocol:
        protocol = HttpProtocol(*args)
        made.append(weakref.ref(protocol))
        return protocol

    server, reader, writer = await client_of(application, remembered)
    async with server, asyncio.timeout(LIMIT_S):
        application.accepts.set()
        writer.write(handshake)
        assert (await reader.readuntil(b"\r\n")).split()[1] == status
        if status != b"101":
            await reader.read()
        gc.collect()
        (protocol,) = made
        assert protocol() is None
        writer.close()
