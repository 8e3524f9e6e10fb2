"""A server on bare sockets: the test decides what each connection does.

And the project's own HTTP transport, which sends it requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from llmchat.providers.http.pool import PooledTransport
from llmchat.providers.transport import Request, Response

LIMIT_S = 10.0
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass(slots=True)
class Peer:
    """The server's end of one connection; `number` counts the connections."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read_request(self) -> bytes:
        """Return the head and the body of the next request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        return head + await self.reader.readexactly(size)

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"ok", headers: bytes = b"") -> None:
        """Send a whole response that keeps the connection open."""
        head = b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n" % (headers, len(body))
        await self.send(head + body)

    async def until_closed(self) -> None:
        """Wait until the other end has closed."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


Serve = Callable[[Peer], Awaitable[None]]


@dataclass(slots=True)
class Sockets:
    """The address of the server, and all connections that it ever had."""

    url: str = ""
    peers: list[Peer] = field(default_factory=list)
    open: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_open(self, count: int) -> None:
        """Wait until exactly `count` connections are open."""
        async with asyncio.timeout(LIMIT_S):
            while self.open != count:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def sockets(serve: Serve) -> AsyncIterator[Sockets]:
    """Serve each connection with `serve`, and close it when that returns."""
    served = Sockets()

    async def on_connection(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = Peer(len(served.peers), reader, writer)
        served.peers.append(peer)
        served.open += 1
        served.changed.set()
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await serve(peer)
        finally:
            served.open -= 1
            served.changed.set()
            writer.transport.abort()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield served
    finally:
        server.close()
        for peer in served.peers:
            peer.writer.transport.abort()
        with suppress(TimeoutError):
            await served.until_open(0)


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
        assert http.in_use == 0


async def answer_for_ever(peer: Peer) -> None:
    while True:
        await peer.read_request()
        await peer.answer(b"%d" % peer.number)
