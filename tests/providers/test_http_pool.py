"""The pool of the lean transport, on real sockets."""

from __future__ import annotations

import asyncio

import pytest

from llmchat.providers.http import body, head, pool
from tests.support.provider_sockets import (
    Peer,
    answer_for_ever,
    ask,
    read,
    request,
    sockets,
    transport,
)

BOTH_LOOPS = True


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
    async with sockets(answer_for_ever) as served, transport() as http:
        await ask(http, served.url)
        assert await ask(http, served.url) == b"0"
        (connection,) = http._origins
        left_s = connection.idle_until - asyncio.get_running_loop().time()
        assert 0 < left_s <= head._KEEPALIVE_S
        connection.idle_until = 0  # as if the time were over
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


async def test_connections_that_are_opened_at_once_are_no_more_than_the_limit() -> None:
    places = 5
    async with (
        sockets(answer_for_ever) as one,
        sockets(answer_for_ever) as two,
        transport(places) as http,
    ):
        for served in (one, two, one):
            await asyncio.gather(*(ask(http, served.url) for _ in range(places - 1)))
            assert one.open + two.open <= places
        assert len(http._origins) <= places


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
        while seen != sent:  # until nothing more is sent
            seen = sent
            await asyncio.sleep(0.1)
        assert sent < whole / 2
        assert response.body._size < body.MAX_BUFFERED_BYTES + 1024 * 1024  # type: ignore[attr-defined]
        assert len(await read(response)) == whole
        assert len(http._idle) == 1
