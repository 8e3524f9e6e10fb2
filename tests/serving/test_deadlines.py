"""How long a connection may be idle, or take to send its request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from serving.http_protocol import HttpProtocol
from tests.support.clock import let_pass
from tests.support.door import Door

LIMIT_S = 10.0
KEEP_ALIVE_S = 1
REQUEST_S = 1.0
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Application:
    """Reads a request, waits, and responds with the length of the body."""

    needs_s = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, message = b"", {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        await asyncio.sleep(self.needs_s)
        headers = [(b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"%d" % len(body)})


@pytest.fixture
async def application() -> Application:
    return Application()


async def client_of(
    application: Any,
) -> tuple[asyncio.Server, asyncio.StreamReader, asyncio.StreamWriter]:
    config = Config(
        application,
        ws="serving.websocket_protocol:WebSocketProtocol",
        timeout_keep_alive=KEEP_ALIVE_S,
        log_config=None,
    )
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: HttpProtocol(config, ServerState(), {}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    return server, reader, writer


@pytest.mark.parametrize("behind", [b"", b"\n", b"\r\n", b"\r\n" * 1000])
@pytest.mark.parametrize("later", [False, True])
async def test_what_ends_a_line_begins_no_request(
    application: Application, behind: bytes, later: bool
) -> None:
    """Some clients send line ends after a body. The connection is as idle as before."""
    server, reader, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(GET if later else GET + behind)
        await reader.readuntil(b"\r\n\r\n0")
        if later:
            writer.write(behind)
        assert await reader.read() == b""
        writer.close()


async def test_whoever_sends_the_ends_of_lines_for_ever_is_idle_too(
    application: Application,
) -> None:
    server, reader, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n0")
        reading = asyncio.create_task(reader.read())
        while not reading.done():
            writer.write(b"\r\n")
            await asyncio.wait([reading], timeout=KEEP_ALIVE_S / 10)
        writer.close()


async def test_a_connection_is_not_idle_while_it_is_answered(
    application: Application,
) -> None:
    application.needs_s = KEEP_ALIVE_S * 1.5
    server, reader, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        for sent in (GET, b"\r\n" + GET):
            writer.write(sent)
            await reader.readuntil(b"\r\n\r\n0")
        writer.close()


async def test_a_request_whose_head_comes_before_the_last_response_is_not_idle(
    application: Application,
) -> None:
    server, reader, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(GET + GET[:9])
        await reader.readuntil(b"\r\n\r\n0")
        application.needs_s = KEEP_ALIVE_S * 1.5
        writer.write(GET[9:])
        await reader.readuntil(b"\r\n\r\n0")
        writer.close()


async def test_a_connection_is_not_idle_while_what_came_waits_for_its_turn(
    application: Application, door: Door
) -> None:
    server, reader, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n0")
        await let_pass(0)  # from here on, time passes only in `let_pass`
        door.close()
        writer.write(GET)
        await door.somebody()
        await let_pass(KEEP_ALIVE_S * 1.5)
        door.let_in()
        await reader.readuntil(b"\r\n\r\n0")
        writer.close()


async def test_a_connection_may_be_idle_for_the_same_time_after_each_response(
    application: Application,
) -> None:
    server, reader, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        await let_pass(0)  # from here on, time passes only in `let_pass`
        for _ in range(3):
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n0")
            await let_pass(KEEP_ALIVE_S * 0.6)
        await let_pass(KEEP_ALIVE_S * 0.39)
        assert not reader.at_eof()
        await let_pass(KEEP_ALIVE_S * 0.02)
        assert await reader.read() == b""
        writer.close()


async def test_a_connection_that_was_busy_all_the_time_may_be_idle_as_long(
    application: Application,
) -> None:
    """Its timer has already fired when it becomes idle."""
    application.needs_s = KEEP_ALIVE_S * 2
    server, reader, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        await let_pass(0)  # from here on, time passes only in `let_pass`
        for _ in range(2):
            writer.write(GET)
            await let_pass(application.needs_s)
            await reader.readuntil(b"\r\n\r\n0")
        await let_pass(KEEP_ALIVE_S * 0.99)
        assert not reader.at_eof()
        await let_pass(KEEP_ALIVE_S * 0.02)
        assert await reader.read() == b""
        writer.close()


async def test_requests_that_arrive_whole_cost_no_timer_but_that_of_the_first(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    started: list[str] = []
    call_later = loop.call_later

    def noted(delay: float, callback: Any, *args: Any) -> asyncio.TimerHandle:
        if isinstance(getattr(callback, "__self__", None), HttpProtocol):
            started.append(callback.__name__)
        return call_later(delay, callback, *args)

    monkeypatch.setattr(loop, "call_later", noted)
    server, reader, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        for _ in range(5):
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n0")
        writer.close()
    assert started == ["_on_deadline", "timeout_keep_alive_handler"]


@pytest.mark.parametrize(
    "head", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"], ids=["plain", "offer"]
)
async def test_a_request_has_its_time_once_for_its_head_and_its_body(
    application: Application, settings: Any, head: bytes
) -> None:
    settings.LLMCHAT = {**settings.LLMCHAT, "request_timeout_s": REQUEST_S}
    server, reader, writer = await client_of(application)
    clock = asyncio.get_running_loop()
    async with server, asyncio.timeout(LIMIT_S):
        await let_pass(0)  # from here on, time passes only in `let_pass`
        began = clock.time()
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + head)
        await let_pass(REQUEST_S * 0.7)
        writer.write(b"Content-Length: 9\r\n\r\n12345678")
        reading = asyncio.create_task(reader.read())
        while not reading.done():
            await let_pass(REQUEST_S / 10)
            assert clock.time() < began + REQUEST_S * 1.5
        assert clock.time() > began + REQUEST_S * 0.9
        assert await reading == b""
        writer.close()


async def test_each_of_several_requests_has_that_time(
    application: Application, settings: Any
) -> None:
    settings.LLMCHAT = {**settings.LLMCHAT, "request_timeout_s": REQUEST_S}
    server, reader, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        await let_pass(0)  # from here on, time passes only in `let_pass`
        writer.write(GET[:9])
        for _ in range(3):
            await let_pass(REQUEST_S * 0.6)
            writer.write(GET[9:] + GET[:9])
            await reader.readuntil(b"\r\n\r\n0")
        writer.close()


async def test_the_first_one_has_it_all_however_long_the_connection_was_open(
    application: Application, settings: Any
) -> None:
    settings.LLMCHAT = {**settings.LLMCHAT, "request_timeout_s": REQUEST_S}
    server, reader, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        await let_pass(REQUEST_S * 0.6)
        writer.write(GET[:9])
        await let_pass(REQUEST_S * 0.6)
        writer.write(GET[9:])
        await reader.readuntil(b"\r\n\r\n0")
        writer.close()


async def test_nobody_is_late_whose_request_waits_for_its_turn(
    application: Application, settings: Any, door: Door
) -> None:
    """The response before it changes nothing about that."""
    settings.LLMCHAT = {**settings.LLMCHAT, "request_timeout_s": REQUEST_S}
    application.needs_s = REQUEST_S * 0.5
    server, reader, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        await let_pass(0)  # from here on, time passes only in `let_pass`
        writer.write(GET + GET[:9])
        await let_pass(0)
        door.close()
        writer.write(GET[9:])
        await door.somebody()
        await let_pass(REQUEST_S * 0.6)
        await reader.readuntil(b"\r\n\r\n0")
        await let_pass(REQUEST_S * 0.6)
        door.let_in()
        await let_pass(REQUEST_S * 0.6)
        await reader.readuntil(b"\r\n\r\n0")
        writer.close()


async def answer_unread(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request without reading its body."""
    headers = [(b"content-length", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"0"})


async def test_a_connection_is_idle_behind_a_body_that_came_after_its_response() -> (
    None
):
    server, reader, writer = await client_of(answer_unread)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n0")
        writer.write(b"x")
        assert await reader.read() == b""
        writer.close()
