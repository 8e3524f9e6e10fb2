"""An answer that is written and that nobody reads does not stay for ever."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from uvicorn import Config, Server

from serving import stalls

IDLE_S = 0.3
SIZE = 12_000_000  # more than a socket takes for a client that does not read
SOON_S = 20.0


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer at once with more than the client has room for, in one piece."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": bytes(SIZE)})
        await receive()  # the connect
        await receive()  # the end
        return
    headers = [(b"content-length", str(SIZE).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(SIZE)})


async def until(check: Callable[[], bool]) -> None:
    """Wait until something that no event tells of has come true."""
    async with asyncio.timeout(SOON_S):
        while True:
            if check():
                return
            await asyncio.sleep(0.01)


@pytest.fixture
async def server(settings: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    settings.LLMCHAT = {**settings.LLMCHAT, "idle_timeout_s": IDLE_S}
    monkeypatch.setattr(stalls, "_MARGIN_S", 0.0)
    config = Config(
        application,
        http="serving.http_protocol:HttpProtocol",
        ws="serving.websocket_protocol:WebSocketProtocol",
        ws_max_size=2 * SIZE,
        lifespan="off",
        log_config=None,
    )
    listening = socket.create_server(("127.0.0.1", 0))
    running = Server(config)
    task = asyncio.create_task(running._serve([listening]))
    await until(lambda: running.started)
    yield running
    running.should_exit = running.force_exit = True
    await task


def request(*headers: str) -> bytes:
    return "\r\n".join(["GET / HTTP/1.1", "Host: x", *headers, "", ""]).encode()


UPGRADE = request(
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


async def asked(server: Server, message: bytes) -> socket.socket:
    """Return a client that has sent a message, once the server has it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    port = server.servers[0].sockets[0].getsockname()[1]
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, message)
    assert await loop.sock_recv(client, 1)
    return client


@pytest.mark.parametrize(
    "message",
    [request(), request("Connection: close"), UPGRADE],
    ids=["keep-alive", "close", "websocket"],
)
async def test_a_client_that_reads_nothing_is_dropped(
    server: Server, message: bytes
) -> None:
    with await asked(server, message):
        await until(lambda: not server.server_state.connections)


async def test_a_client_that_reads_slowly_gets_all_of_it(server: Server) -> None:
    loop = asyncio.get_running_loop()
    received = 0
    with await asked(server, request("Connection: close")) as client:
        began = loop.time()
        async with asyncio.timeout(SOON_S):
            with suppress(ConnectionError):
                while data := await loop.sock_recv(client, SIZE // 50):
                    received += len(data)
                    if loop.time() < began + 4 * IDLE_S:
                        await asyncio.sleep(IDLE_S / 10)

    assert received > SIZE
