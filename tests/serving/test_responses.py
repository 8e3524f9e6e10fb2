"""What is written for a response, and in how many pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.support.peers import turns
from tests.support.written import connected

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"

Application = Callable[[Any, Any, Any], Awaitable[None]]


def answering(
    *bodies: Any, status: int = 200, headers: Any = (), reads: bool = False
) -> Application:
    """Return an application that sends a head and these pieces of a body."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if reads:
            await receive()
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await send(start)
        for number, body in enumerate(bodies, 1):
            message = {"type": "http.response.body", "body": body}
            await send({**message, "more_body": number < len(bodies)})

    return application


async def failing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    raise RuntimeError


async def resting(scope: Any, receive: Any, send: Any) -> None:
    """Send the head and each piece in a pass of its own."""
    await send({"type": "http.response.start", "status": 200})
    for more in (True, True, False):
        await turns()
        await send({"type": "http.response.body", "body": b"x", "more_body": more})


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


def length(number: int) -> list[tuple[bytes, bytes]]:
    return [(b"content-length", b"%d" % number)]


CLOSES = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
EXPECTS = POST + b"Expect: 100-continue\r\n\r\nok"


@pytest.mark.parametrize(
    ("request_", "application", "pieces"),
    [
        (GET, answering(b"ok", headers=length(2)), 1),
        (GET, answering(b"ok"), 1),
        (GET, answering(b""), 1),
        (GET, answering(b"", headers=length(0)), 1),
        (GET, answering(bytearray(b"ok"), headers=length(2)), 1),
        (GET, answering(b"", status=204), 1),
        (GET, answering(b"", status=304, headers=[(b"etag", b"x")]), 1),
        (GET, answering(b"a", b"b", b"c"), 3),
        (GET, answering(b"", b"b"), 2),
        (GET, answering(b"a", b"b", headers=length(2)), 2),
        (GET, resting, 4),
        (GET, answering(b"x" * 100_000), 2),
        (GET.replace(b"GET", b"HEAD"), answering(b"", headers=length(2)), 1),
        (GET.replace(b"GET", b"HEAD"), answering(b"ok", headers=length(2)), 1),
        (CLOSES, answering(b"ok", headers=length(2)), 1),
        (GET.replace(b"1.1", b"1.0"), answering(b"ok"), 1),
        (EXPECTS, answering(b"ok", reads=True), 2),
        (EXPECTS, answering(b"ok"), 1),
        (GET, answering(b"long", headers=length(2)), 1),
        (GET, answering(b"short", headers=length(9)), 1),
        (GET, answering("text", headers=length(4)), 1),
        (GET, answering(b"x", headers=[(b"x", b"a\r\nb: c")]), 0),
        (GET, answering(), 1),
        (GET, failing, 1),
        (GET, nothing, 1),
    ],
)
async def test_it_is_what_uvicorn_writes_in_fewer_pieces(
    request_: bytes, application: Application, pieces: int
) -> None:
    served, usual = connected(application), connected(application, HttpToolsProtocol)
    for client in (served, usual):
        client.receive(request_)
    for _ in range(5):
        await turns()

    assert served.text == usual.text
    assert served.has_closed == usual.has_closed
    assert len(served.pieces) == pieces
    for client in (served, usual):
        client.close()


class Handed:
    """An application that hands its request to the test."""

    def __init__(self) -> None:
        self.send: Any = None
        self.over = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.send = send
        await self.over.wait()


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_head_without_a_body_leaves_with_the_pass_of_the_loop(
    method: bytes,
) -> None:
    application = Handed()
    client = connected(application)
    client.receive(GET.replace(b"GET", method))
    await turns()

    await application.send({"type": "http.response.start", "status": 200})
    await asyncio.sleep(0)

    assert client.text.startswith(b"HTTP/1.1 200 OK\r\n")
    application.over.set()
    await turns()


async def test_a_head_leaves_before_its_connection_closes_for_a_broken_body() -> None:
    application = Handed()
    client = connected(application)
    client.receive(CHUNKED)
    await turns()

    await application.send({"type": "http.response.start", "status": 200})
    client.receive(b"no number\r\n")

    assert client.text.startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.has_closed
    application.over.set()
    await turns()


async def test_a_head_is_not_written_to_a_connection_that_is_gone() -> None:
    application = Handed()
    client = connected(application)
    client.receive(GET)
    await turns()

    await application.send({"type": "http.response.start", "status": 200})
    application.send.__self__.transport.abort()
    client.write = None  # type: ignore[assignment]  # so that calling it raises
    application.over.set()
    await turns()

    assert client.pieces == []


async def test_no_body_is_sent_without_its_head_while_a_connection_closes() -> None:
    application = Handed()
    client = connected(application)
    client.receive(GET)
    await turns()
    client.is_pending = True

    await application.send({"type": "http.response.start", "status": 200})
    client.close()  # by the event loop: the client sends no more
    await turns()
    await application.send({"type": "http.response.body", "body": b"ok"})

    assert client.text.startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.text.endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    client.protocol.connection_lost(None)
    application.over.set()
    await turns()


async def test_responses_keep_their_order_on_a_connection() -> None:
    client = connected(answering(b"ok", headers=length(2)))
    head = GET.replace(b"GET", b"HEAD")
    client.receive(GET + head + GET + b"nonsense\r\n\r\n")
    await turns()

    first, second, third, refused = client.pieces
    assert first == third == second + b"ok"
    assert refused.startswith(b"HTTP/1.1 400 ")
    assert client.has_closed
