"""The lean transport on real sockets: its pool, its bounds, its ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop

from llmchat.providers.http import address, body, default, dialer, pool
from llmchat.providers.http.library import LibraryTransport
from llmchat.providers.http.pool import PooledTransport
from llmchat.providers.transport import (
    AddressError,
    ConnectionLostError,
    Request,
    Response,
    UnreachableError,
)
from tests.support.provider_sockets import LIMIT_S, Peer, sockets

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def request(url: str, content: bytes = b"{}", **headers: str) -> Request:
    return Request(url, headers, content, 5.0)


async def read(response: Response) -> bytes:
    """Read a body to its end."""
    async with asyncio.timeout(LIMIT_S):
        return b"".join([piece async for piece in response.body])


async def ask(http: PooledTransport, url: str) -> bytes:
    """Return the body of one answer."""
    return await read(await http.send(request(url)))


@asynccontextmanager
async def transport(max_connections: int = 10) -> AsyncIterator[PooledTransport]:
    http = PooledTransport(max_connections=max_connections)
    try:
        yield http
    finally:
        async with asyncio.timeout(LIMIT_S):
            await http.aclose()
        assert not http._origins
        assert http._places._value == max_connections


async def answer_for_ever(peer: Peer) -> None:
    while True:
        await peer.read_request()
        await peer.answer(b"%d" % peer.number)


# --- requests ---


async def test_a_request_is_one_post_with_its_length() -> None:
    seen = []

    async def serve(peer: Peer) -> None:
        seen.append(await peer.read_request())
        await peer.answer()

    async with sockets(serve) as served, transport() as http:
        sent = request(f"{served.url}/chat?a=b c".replace(" ", "%20"), b"body", X="y")
        await read(await http.send(sent))
        host = served.url.split("/")[2].encode()
    assert seen == [
        b"POST /v1/chat?a=b%20c HTTP/1.1\r\nHost: " + host + b"\r\n"
        b"X: y\r\nContent-Length: 4\r\n\r\nbody"
    ]


@pytest.mark.parametrize(
    ("url", "head", "origin"),
    [
        ("http://H", "POST / HTTP/1.1\r\nHost: h\r\n", ("h", 80, False)),
        ("https://h:443/a", "POST /a HTTP/1.1\r\nHost: h\r\n", ("h", 443, True)),
        ("https://h:8443/", "POST / HTTP/1.1\r\nHost: h:8443\r\n", ("h", 8443, True)),
        ("http://[::1]:1/", "POST / HTTP/1.1\r\nHost: [::1]:1\r\n", ("::1", 1, False)),
        (
            "http://h/é%20?q=ü#f",
            "POST /%C3%A9%20?q=%C3%BC HTTP/1.1\r\nHost: h\r\n",
            None,
        ),
        ("http://bücher.de/", "POST / HTTP/1.1\r\nHost: xn--bcher-kva.de\r\n", None),
    ],
)
def test_an_address_is_taken_apart(url: str, head: str, origin: object) -> None:
    parsed = address.parse_address(url)
    assert parsed.head == head
    assert origin in (None, tuple(parsed.origin))


@pytest.mark.parametrize(
    "url",
    ["", "h", "ftp://h", "http://", "http://h:x/", "http://h:99999/", "http://h/ a"],
)
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(AddressError):
        address.parse_address(url)


def test_a_name_and_a_password_in_an_address_are_a_header() -> None:
    parsed = address.parse_address("http://me:s%40cret@h/")
    sent = address.encode_request(parsed, request(""))
    assert b"\r\nAuthorization: Basic bWU6c0BjcmV0\r\n" in sent
    assert b"me:" not in sent
    sent = address.encode_request(parsed, request("", Authorization="Bearer k"))
    assert b"Basic" not in sent


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\0"])
def test_a_header_cannot_be_broken(value: str) -> None:
    with pytest.raises(ValueError, match="header X"):
        address.encode_request(address.parse_address("http://h"), request("", X=value))


# --- the pool ---


async def test_a_connection_is_used_again() -> None:
    async with sockets(answer_for_ever) as served, transport() as http:
        assert [await ask(http, served.url) for _ in range(3)] == [b"0"] * 3
        await served.until_open(1)


async def test_an_idle_connection_that_the_server_closes_is_forgotten() -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer(b"%d" % peer.number)

    async with sockets(serve) as served, transport() as http:
        for number in range(3):
            assert await ask(http, served.url) == b"%d" % number
            await served.until_open(0)


async def test_an_idle_connection_is_closed_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "_SWEEP_S", 0.02)

    async def serve(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer(headers=b"keep-alive: timeout=1\r\n")
        await peer.until_closed()

    async with sockets(serve) as served, transport() as http:
        await ask(http, served.url)
        await served.until_open(0)
        assert http._sweeper is None


async def test_an_old_idle_connection_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with sockets(answer_for_ever) as served, transport() as http:
        await ask(http, served.url)
        (connection,) = http._origins
        connection.idle_until = 0
        assert await ask(http, served.url) == b"1"


async def test_unasked_bytes_close_an_idle_connection() -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await peer.until_closed()

    async with sockets(serve) as served, transport() as http:
        await ask(http, served.url)
        await served.until_open(0)


async def test_another_server_takes_the_place_of_an_idle_connection() -> None:
    async with (
        sockets(answer_for_ever) as one,
        sockets(answer_for_ever) as two,
        transport(max_connections=1) as http,
    ):
        for served in (one, two, one):
            await ask(http, served.url)
            await served.until_open(1)
        await two.until_open(0)
        assert len(one.peers) == 2


async def test_a_request_beyond_the_limit_waits_its_turn() -> None:
    release = asyncio.Event()

    async def serve(peer: Peer) -> None:
        await peer.read_request()
        await release.wait()
        await peer.answer(b"first")
        await peer.read_request()
        await peer.answer(b"second")
        await peer.until_closed()

    async with sockets(serve) as served, transport(max_connections=1) as http:
        tasks = [asyncio.create_task(ask(http, served.url)) for _ in range(2)]
        await served.until_open(1)
        release.set()
        assert await asyncio.gather(*tasks) == [b"first", b"second"]
        assert len(served.peers) == 1


# --- a connection that is closed while it is used ---


def stale(after: bytes) -> Callable[[Peer], Coroutine[None, None, None]]:
    """Close the first connection at its second request, `after` that was sent."""

    async def serve(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer(b"%d" % peer.number)
        await peer.read_request()
        if peer.number == 0:
            await peer.send(after)
        else:
            await peer.answer(b"%d" % peer.number)

    return serve


async def test_a_stale_connection_is_replaced_by_a_new_one() -> None:
    async with sockets(stale(b"")) as served, transport() as http:
        assert await ask(http, served.url) == b"0"
        assert await ask(http, served.url) == b"1"
        assert len(served.peers) == 2


@pytest.mark.parametrize(
    "after", [b"H", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"]
)
async def test_one_that_has_begun_to_answer_is_not(after: bytes) -> None:
    async with sockets(stale(after)) as served, transport() as http:
        await ask(http, served.url)
        with pytest.raises(ConnectionLostError):
            await ask(http, served.url)
        assert len(served.peers) == 1


async def test_a_new_connection_that_is_closed_is_not_tried_again() -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_request()

    async with sockets(serve) as served, transport() as http:
        with pytest.raises(ConnectionLostError):
            await ask(http, served.url)
        assert len(served.peers) == 1


async def test_the_replacement_is_not_another_old_one() -> None:
    both = asyncio.Barrier(2)

    async def serve(peer: Peer) -> None:
        await peer.read_request()
        if peer.number < 2:
            await both.wait()
            await peer.answer()
            await peer.read_request()
        else:
            await peer.answer(b"new")

    async with sockets(serve) as served, transport() as http:
        await asyncio.gather(*(ask(http, served.url) for _ in range(2)))
        assert await ask(http, served.url) == b"new"
        assert len(served.peers) == 3


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        CHUNKED + b"9\r\nhalf",
        CHUNKED + b"4\r\nhalf\r\n",
    ],
)
async def test_what_came_before_the_loss_is_read_first(sent: bytes) -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(sent)

    async with sockets(serve) as served, transport() as http:
        response = await http.send(request(served.url))
        await served.until_open(0)
        assert await anext(response.body) == b"half"
        with pytest.raises(ConnectionLostError):
            await anext(response.body)


async def test_a_body_that_ends_with_the_connection_is_whole() -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nwhole")

    async with sockets(serve) as served, transport() as http:
        assert await ask(http, served.url) == b"whole"


async def test_a_response_before_the_whole_request_does_not_keep_the_connection() -> (
    None
):
    over = asyncio.Event()

    async def serve(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.answer(b"%d" % peer.number)
        if peer.number:
            await peer.until_closed()
        else:
            await over.wait()  # the rest is never read

    async with sockets(serve) as served, transport() as http:
        large = bytes(32 * 1024 * 1024)
        assert await read(await http.send(request(served.url, large))) == b"0"
        assert await ask(http, served.url) == b"1"
        over.set()


# --- bounds ---


async def test_a_body_that_nobody_reads_makes_the_server_wait() -> None:
    whole = 64 * 1024 * 1024
    sent = 0

    async def serve(peer: Peer) -> None:
        nonlocal sent
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % whole)
        while sent < whole:
            await peer.send(bytes(65536))
            sent += 65536
        await peer.until_closed()

    async with sockets(serve) as served, transport() as http:
        response = await http.send(request(served.url))
        seen = -1
        while seen != sent:  # until it stands still
            seen = sent
            await asyncio.sleep(0.1)
        assert sent < whole / 2
        assert response.body._size < body.MAX_BUFFERED_BYTES + 1024 * 1024  # type: ignore[attr-defined]
        assert len(await read(response)) == whole
        assert len(http._idle) == 1


# --- giving up ---


async def say_nothing(peer: Peer) -> None:
    await peer.read_request()
    await peer.until_closed()


async def say_half(peer: Peer) -> None:
    await peer.read_request()
    await peer.send(CHUNKED + b"4\r\nhalf\r\n")
    await peer.until_closed()


@pytest.mark.parametrize("serve", [say_nothing, say_half])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_cancelled_request_closes_its_connection_at_once(
    serve: Callable[[Peer], Coroutine[None, None, None]],
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        async with sockets(serve) as served, transport() as http:
            task = asyncio.create_task(_consume(http, served.url))
            await served.until_open(1)
            await asyncio.sleep(0.05)  # into the phase
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await served.until_open(0)
            assert http._places._value == 10

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


async def _consume(http: PooledTransport, url: str) -> None:
    response = await http.send(request(url))
    try:
        await read(response)
    finally:
        await response.aclose()


async def test_a_closed_response_closes_its_connection_at_once() -> None:
    async with sockets(say_half) as served, transport() as http:
        response = await http.send(request(served.url))
        await response.aclose()
        await served.until_open(0)
        with suppress(ConnectionLostError):
            assert [piece async for piece in response.body] == []


async def test_a_late_close_does_not_touch_the_next_exchange() -> None:
    async with sockets(answer_for_ever) as served, transport() as http:
        first = await http.send(request(served.url))
        await read(first)
        second = await http.send(request(served.url))
        await first.aclose()
        assert await read(second) == b"0"


async def test_a_cancel_behind_the_answer_does_not_touch_the_next_exchange() -> None:
    """The response is whole, and its connection in use again, before its task runs."""
    async with sockets(answer_for_ever) as served, transport(1) as http:
        tasks = [asyncio.create_task(ask(http, served.url)) for _ in range(40)]
        for task in tasks[::2]:
            await asyncio.wait([task], timeout=0.002)
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, bytes) for outcome in outcomes[1::2])


async def test_closing_ends_requests_in_every_phase() -> None:
    async with sockets(say_nothing) as served:
        http = PooledTransport(max_connections=1)
        tasks = [asyncio.create_task(ask(http, served.url)) for _ in range(3)]
        await served.until_open(1)
        await http.aclose()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ConnectionLostError] * 3
        await served.until_open(0)


# --- connecting ---


def names(*hosts: str) -> Callable[..., Coroutine[None, None, Any]]:
    """Return a resolver that finds these addresses."""

    async def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        kind = socket.SOCK_STREAM, socket.IPPROTO_TCP
        return [(socket.AF_INET, *kind, "", (found, port)) for found in hosts]

    return getaddrinfo


async def test_the_next_address_is_tried_where_one_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
        if address[0] == "127.0.0.9":
            await asyncio.sleep(3600)
        await connect(sock, address)

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    monkeypatch.setattr(loop, "getaddrinfo", names("127.0.0.9", "127.0.0.1"))
    monkeypatch.setattr(dialer, "_NEXT_ADDRESS_S", 0.01)
    async with sockets(answer_for_ever) as served, transport() as http:
        url = served.url.replace("127.0.0.1", "two-addresses")
        assert await ask(http, url) == b"0"


async def test_a_name_is_looked_up_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    asked = []

    async def getaddrinfo(host: str, port: int, **_: object) -> Any:
        asked.append(host)
        return await names("127.0.0.1")(host, port)

    async def serve(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer(headers=b"connection: close\r\n")

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    async with sockets(serve) as served, transport() as http:
        url = served.url.replace("127.0.0.1", "provider")
        for _ in range(3):
            await ask(http, url)
        assert asked == ["provider"]
        monkeypatch.setattr(dialer, "_NAMES_S", -1.0)
        http._dialer._names.clear()
        for _ in range(2):
            await ask(http, url)
    assert asked == ["provider"] * 3


async def test_a_server_that_closes_at_once_is_a_failure_and_no_leak() -> None:
    async def serve(peer: Peer) -> None:
        peer.writer.transport.abort()

    async with sockets(serve) as served, transport() as http:
        for _ in range(20):
            with pytest.raises((ConnectionLostError, UnreachableError)):
                await ask(http, served.url)


# --- which transport ---


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
async def test_proxies_are_the_libraries_business(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    made = default.new_transport(max_connections=1)
    assert isinstance(made, LibraryTransport)
    await made.aclose()


async def test_without_a_proxy_the_lean_one_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert isinstance(default.new_transport(max_connections=1), PooledTransport)
