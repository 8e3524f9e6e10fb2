"""A response that is written but never read does not stay forever."""

from __future__ import annotations

import asyncio
import operator
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from uvicorn import Config, Server

from serving import stalls
from serving.websocket_protocol import WebSocketProtocol

IDLE_S = 0.3
SIZE = 12_000_000  # more than a socket buffers for a client that does not read
SOON_S = 20.0
PIECE, LEFT = 10_000, 30_000
CLOSE_FRAME = b"\x88\x82\x00\x00\x00\x00\x03\xe8"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Respond immediately with more than the client has room for, in one piece."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": bytes(SIZE)})
        await receive()  # the connect message
        await receive()  # the disconnect message
        return
    headers = [(b"content-length", str(SIZE).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(SIZE)})


class Leaving:
    """Responds with a little more than the system buffers, and no more.

    What is left is less than the amount at which uvicorn pauses writing.
    """

    def __init__(self) -> None:
        self.ends_with = ""
        self.close_timeout_s: float | None = None
        self.transport: Any = None
        self.is_written, self.is_over = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.transport = send.__self__.transport
        await receive()
        if scope["type"] == "websocket":
            if self.close_timeout_s is not None:
                send.__self__.close_timeout = self.close_timeout_s
            await send({"type": "websocket.accept"})
            piece = {"type": "websocket.send", "bytes": bytes(PIECE)}
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            piece = {"type": "http.response.body", "body": bytes(PIECE)}
            piece["more_body"] = True
        while self.transport.get_write_buffer_size() < LEFT:
            await send(piece)
        await self._end(send, receive)
        self.is_over.set()

    async def _end(self, send: Any, receive: Any) -> None:
        self.is_written.set()
        match self.ends_with:
            case "error":
                raise RuntimeError
            case "close":
                await send({"type": "websocket.close"})
            case "response":
                await send({"type": "http.response.body", "body": b""})
            case _:
                while not (await receive())["type"].endswith("disconnect"):
                    pass


async def until(check: Callable[[], bool]) -> None:
    """Wait until something is true for which there is no event."""
    async with asyncio.timeout(SOON_S):
        while True:
            if check():
                return
            await asyncio.sleep(0.01)


@pytest.fixture
async def server(settings: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    async for running in serve(application, settings, monkeypatch):
        yield running


@pytest.fixture
async def leaving() -> Leaving:
    return Leaving()


@pytest.fixture
async def left(
    leaving: Leaving, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    async for running in serve(leaving, settings, monkeypatch):
        yield running


async def serve(
    served: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    settings.LLMCHAT = {**settings.LLMCHAT, "idle_timeout_s": IDLE_S}
    monkeypatch.setattr(stalls, "_MARGIN_S", 0.0)
    config = Config(
        served,
        http="serving.http_protocol:HttpProtocol",
        ws="serving.websocket_protocol:WebSocketProtocol",
        ws_per_message_deflate=False,
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
    """Return a client that has sent a message, once the server has received it."""
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


@pytest.mark.parametrize(
    ("message", "ends_with", "then"),
    [
        (UPGRADE, "", CLOSE_FRAME),
        (UPGRADE, "", b"\xff" * 20),
        (UPGRADE, "", None),
        (UPGRADE, "close", CLOSE_FRAME),
        (UPGRADE, "close", b""),
        (UPGRADE, "error", b""),
        (request(), "response", b"nonsense\r\n\r\n"),
        (request(), "response", b""),
        (request(), "response", None),
        (request("Connection: close"), "response", b""),
        (request(), "error", b""),
    ],
)
async def test_what_is_left_when_a_connection_closes_does_not_keep_it(
    left: Server,
    leaving: Leaving,
    monkeypatch: pytest.MonkeyPatch,
    message: bytes,
    ends_with: str,
    then: bytes | None,
) -> None:
    """`then` is what the client sends next; None means that it sends nothing more."""
    leaving.ends_with = ends_with
    leaving.close_timeout_s = IDLE_S  # before a close starts a timer with uvicorn's own
    left.config.timeout_keep_alive = 1
    served = left.server_state.connections
    with await asked(left, message) as client:
        await leaving.is_written.wait()
        if then is None:
            client.shutdown(socket.SHUT_WR)
        else:
            await asyncio.get_running_loop().sock_sendall(client, then)
        await until(lambda: not served)
    assert not leaving.transport.get_write_buffer_size()


@pytest.mark.parametrize("message", [request(), UPGRADE], ids=["http", "websocket"])
async def test_whoever_reads_all_but_the_last_of_it_is_dropped_too(
    left: Server, leaving: Leaving, message: bytes
) -> None:
    """uvicorn would resume writing by then: what counts is whether anything is left."""
    async with asyncio.timeout(SOON_S):
        with await asked(left, message):
            await leaving.is_written.wait()
            (protocol,) = left.server_state.connections
            protocol.pause_writing()
            leaving.transport.close()
            protocol.resume_writing()
            await until(lambda: not left.server_state.connections)


async def test_a_socket_that_closes_with_something_left_does_not_hinder_the_stop(
    left: Server, leaving: Leaving
) -> None:
    with await asked(left, UPGRADE) as client:
        await leaving.is_written.wait()
        await asyncio.get_running_loop().sock_sendall(client, CLOSE_FRAME)
        await until(leaving.transport.is_closing)
        left.should_exit = True
        await until(lambda: not left.server_state.connections)


class Listening:
    """Accepts a WebSocket, and waits for a message. A request gets a long response."""

    def __init__(self) -> None:
        self.has_heard = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await application(scope, receive, send)
            return
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            if message["type"] == "websocket.receive":
                self.has_heard.set()


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a short frame of a client."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


def narrowed(server: Server) -> Any:
    """Return the only connection, with little buffer space in the system."""
    (protocol,) = server.server_state.connections
    server_side = protocol.transport.get_extra_info("socket")
    server_side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return protocol


async def test_pings_whose_pongs_nobody_reads_are_not_answered_one_by_one(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    application, loop = Listening(), asyncio.get_running_loop()
    pings = b"".join(frame(9, b"%0125d" % number) for number in range(3000))
    async for server in serve(application, settings, monkeypatch):
        settings.LLMCHAT = {**settings.LLMCHAT, "idle_timeout_s": SOON_S}
        with await asked(server, UPGRADE) as client:
            protocol = narrowed(server)
            await loop.sock_sendall(client, pings + frame(9, b"last") + frame(1, b"!"))
            async with asyncio.timeout(SOON_S):
                await application.has_heard.wait()
                assert protocol.transport.get_write_buffer_size() < 100_000
                received = b""
                while b"\x8a\x04last" not in received:
                    received += await loop.sock_recv(client, 65536)
    assert received.count(b"\x8a\x7d") < 3000


async def upgraded_behind_an_answer(server: Server) -> socket.socket:
    """Return a client that has not read its response, once it has a WebSocket."""
    client = await asked(server, request())
    await asyncio.get_running_loop().sock_sendall(client, UPGRADE)
    connections = server.server_state.connections
    await until(lambda: any(isinstance(c, WebSocketProtocol) for c in connections))
    return client


async def test_a_socket_outlives_the_time_that_an_answer_before_it_had(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening, loop = Listening(), asyncio.get_running_loop()
    async for server in serve(listening, settings, monkeypatch):
        with await upgraded_behind_an_answer(server) as client:
            async with asyncio.timeout(SOON_S):
                received = b""
                while b"HTTP/1.1 101" not in received:
                    received = received[-20:] + await loop.sock_recv(client, SIZE)
                await asyncio.sleep(4 * IDLE_S)  # the passing of time is what is tested
                await loop.sock_sendall(client, frame(1, b"!"))
                await listening.has_heard.wait()


async def test_a_socket_whose_client_does_not_read_the_answer_before_it_is_dropped(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async for server in serve(Listening(), settings, monkeypatch):
        connections = server.server_state.connections
        with await upgraded_behind_an_answer(server):
            await until(partial(operator.not_, connections))


class Closing(Listening):
    """Accepts a WebSocket, and closes it on the first message."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.receive":
            pass
        await send({"type": "websocket.close"})
        self.has_heard.set()


async def test_nor_are_those_that_come_behind_the_end(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has some seconds to confirm that it has read the close frame."""
    closing, loop = Closing(), asyncio.get_running_loop()
    pings = b"".join(frame(9, b"%0125d" % number) for number in range(3000))
    async for server in serve(closing, settings, monkeypatch):
        settings.LLMCHAT = {**settings.LLMCHAT, "idle_timeout_s": SOON_S}
        with await asked(server, UPGRADE) as client:
            protocol = narrowed(server)
            async with asyncio.timeout(SOON_S):
                await loop.sock_sendall(client, frame(1, b"!"))
                await closing.has_heard.wait()
                await loop.sock_sendall(client, pings + CLOSE_FRAME)
                await until(protocol.transport.is_closing)
            assert protocol.conn.close_rcvd is not None
            assert protocol.transport.get_write_buffer_size() < 100_000
