"""Requests that arrive before the previous one got its response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from llmchat.realtime.turns import PASS_S, turns
from serving.http_protocol import HttpProtocol
from tests.support.door import Door

LIMIT_S = 20.0
FIRST = b"GET /first HTTP/1.1\r\nHost: localhost\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"
BROKEN = (
    b"POST /broken HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nno number\r\n"
)
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


class Slow:
    """An application that begins its response, and ends it when `go` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.ended = asyncio.Event()
        self.asked: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = {"type": "http.response.body", "body": scope["path"].encode()}
        await send({**body, "more_body": True})
        await self.go.wait()
        await send({"type": "http.response.body", "body": b"!"})
        self.ended.set()


class Handed:
    """An application that hands its requests to the test, which answers them."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[tuple[str, Any, Any]] = asyncio.Queue()
        self.over = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.requests.put_nowait((scope["path"], receive, send))
        await self.over.wait()


async def client_of(
    application: Any,
) -> tuple[asyncio.Server, asyncio.StreamReader, asyncio.StreamWriter]:
    config = Config(
        application,
        ws="serving.websocket_protocol:WebSocketProtocol",
        ws_per_message_deflate=False,
        log_config=None,
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


@pytest.mark.parametrize("behind", [NEXT, NEXT * 3, UPGRADE, b"nonsense\r\n\r\n"])
async def test_a_request_hears_it_too_when_more_comes_later(behind: bytes) -> None:
    application = Waiting()
    server, _, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(FIRST)
        assert await application.asked.get() == "/first"
        writer.write(behind)
        await writer.drain()
        await asyncio.sleep(0.1)  # so that it arrives in a packet of its own

        writer.transport.abort()

        assert await application.left.get() == "/first"
    assert application.asked.empty()


async def test_those_who_pipeline_too_many_are_read_no_further() -> None:
    application = Slow()
    server, reader, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(FIRST)
        await reader.readuntil(b"/first\r\n")
        filling = asyncio.create_task(fill(writer))
        await asyncio.sleep(0.5)
        assert not filling.done()
        filling.cancel()
        await asyncio.wait([filling])
        writer.transport.abort()
        application.go.set()
        await application.ended.wait()


async def fill(writer: asyncio.StreamWriter) -> None:
    """Write more than the buffers of any system hold, beginning with little."""
    for _ in range(12):
        writer.write(NEXT)
        await asyncio.sleep(0.02)  # so that it arrives in a packet of its own
    for _ in range(400):
        writer.write(NEXT * 1000)
        await writer.drain()


@pytest.mark.parametrize("number", [16, 17, 6000])
async def test_of_those_that_come_at_once_some_may_wait(number: int) -> None:
    application = Slow()
    server, reader, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(FIRST + NEXT * number)
        await reader.readuntil(b"/first\r\n")
        application.go.set()
        if number <= 16:
            writer.write(b"nonsense\r\n\r\n")
        *served, refused = (await reader.read()).split(b"HTTP/1.1 ")
        writer.close()

    assert len(served) == 17
    assert application.asked == ["/first"] + ["/next"] * 16
    assert refused.startswith(b"400 ")
    assert (b"Too many requests are waiting" in refused) == (number > 16)


@pytest.mark.parametrize(
    "behind", [UPGRADE, b"nonsense\r\n\r\n", BROKEN, NEXT + UPGRADE, NEXT + BROKEN]
)
@pytest.mark.parametrize("later", [False, True])
async def test_what_cannot_be_served_is_refused_behind_the_response_that_is_due(
    behind: bytes, later: bool
) -> None:
    """Between two pieces of a response, neither a WebSocket nor another one begins."""
    application = Slow()
    server, reader, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(FIRST if later else FIRST + behind)
        read = await reader.readuntil(b"/first\r\n")
        if later:
            writer.write(behind)
            await asyncio.sleep(0.1)  # so that it arrives in a packet of its own
        application.go.set()
        read += await reader.read()
        writer.close()

    due = [b"/first"] + [b"/next"] * behind.startswith(NEXT)
    *served, refused = read.split(b"HTTP/1.1 ")[1:]
    assert [response.partition(b"\r\n\r\n")[2] for response in served] == [
        b"%x\r\n%b\r\n1\r\n!\r\n0\r\n\r\n" % (len(path), path) for path in due
    ]
    assert refused.startswith(b"400 ")
    assert application.asked == [path.decode() for path in due]


async def test_a_response_that_has_begun_breaks_off_with_its_request() -> None:
    """A refusal in the middle of the response would be taken for a piece of it."""
    application = Slow()
    server, reader, writer = await client_of(application)
    head, nonsense = BROKEN.split(b"no number")
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(head)
        begun = await reader.readuntil(b"/broken\r\n")
        writer.write(b"no number" + nonsense)
        assert await reader.read() == b""
        assert begun.startswith(b"HTTP/1.1 200 ")
        application.go.set()
        await application.ended.wait()
        writer.close()


async def test_a_request_whose_client_closes_is_served_at_a_busy_door() -> None:
    """An example is the request that a page sends when it is left."""
    application = Waiting()
    server, _, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        for _ in range(60):
            turns().call(partial(time.sleep, PASS_S), at_the_door=True)
        writer.write(FIRST)
        writer.close()
        assert await application.asked.get() == "/first"
        assert await application.left.get() == "/first"


async def read(receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "http.request"


async def respond(receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@pytest.mark.parametrize("work", [read, respond])
async def test_nothing_more_is_read_while_bytes_wait_for_their_turn(
    door: Door, work: Callable[[Any, Any], Awaitable[None]]
) -> None:
    """Otherwise a fast client would pile up as much as it can send."""
    application = Handed()
    server, _, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(FIRST)
        _, receive, send = await application.requests.get()
        door.close()
        writer.write(NEXT)
        await door.somebody()

        await work(receive, send)

        transport = send.__self__.transport
        assert not transport.is_reading()
        door.let_in()
        assert transport.is_reading()
        writer.transport.abort()
        application.over.set()


async def test_a_request_whose_client_closes_waits_for_its_turn_behind_a_response(
    door: Door,
) -> None:
    application = Handed()
    server, _, writer = await client_of(application)
    async with server, asyncio.timeout(LIMIT_S):
        writer.write(FIRST)
        _, receive, send = await application.requests.get()
        door.close()
        writer.write(NEXT)
        writer.close()
        await door.somebody()
        await respond(receive, send)
        await asyncio.sleep(0.1)  # the server could learn of the close by now

        door.let_in()

        path, receive, _ = await application.requests.get()
        assert path == "/next"
        while (await receive())["type"] != "http.disconnect":
            pass
        application.over.set()
