"""Connections that break off or are given up."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress

import pytest
import uvloop

from llmchat.providers.http.pool import PooledTransport
from llmchat.providers.transport import (
    ConnectionLostError,
)
from tests.support.provider_sockets import (
    CHUNKED,
    Peer,
    answer_for_ever,
    ask,
    read,
    request,
    sockets,
    transport,
)

BOTH_LOOPS = True


def stale(after: bytes) -> Callable[[Peer], Coroutine[None, None, None]]:
    """Close the first connection at its second request, after sending `after`."""

    async def serve(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer(b"%d" % peer.number)
        await peer.read_request()
        if peer.number == 0:
            await peer.send(after)
        else:
            await peer.answer(b"%d" % peer.number)

    return serve


async def test_what_was_written_is_not_sent_again() -> None:
    """The server may have read it; whether to retry is for the client to decide."""
    async with sockets(stale(b"")) as served, transport() as http:
        assert await ask(http, served.url) == b"0"
        with pytest.raises(ConnectionLostError):
            await ask(http, served.url)
        assert len(served.peers) == 1
        assert await ask(http, served.url) == b"1"


async def test_a_connection_whose_end_was_not_seen_yet_is_not_used_again() -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer(b"%d" % peer.number)
        await peer.until_closed()

    async with sockets(serve) as served, transport() as http:
        assert await ask(http, served.url) == b"0"
        (connection,) = http._origins
        assert not connection.has_input
        # Unnoticed by the event loop, as if the server were on another machine.
        fileno = os.dup(served.peers[0].writer.get_extra_info("socket").fileno())
        with socket.socket(fileno=fileno) as server:
            server.shutdown(socket.SHUT_RDWR)
        assert connection.is_usable
        assert connection.has_input
        assert await ask(http, served.url) == b"1"


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
            await asyncio.sleep(0.05)  # until the exchange is in this phase
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
    """The response may be complete, and its connection reused, before the task runs."""
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
