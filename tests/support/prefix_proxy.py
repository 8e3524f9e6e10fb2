"""A proxy that exposes a server below a path, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

_NOTHING = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@asynccontextmanager
async def proxy(port: int, prefix: str, *, strips: bool) -> AsyncIterator[str]:
    """Serve `prefix` from the server on `port`; yield the address with the prefix.

    With `strips`, the prefix is removed from the path before a request is passed on.
    """
    serving: set[asyncio.Task[None]] = set()

    def passed_on(head: bytes) -> bytes | None:
        method, path, rest = head.decode("latin-1").split(" ", 2)
        if not f"{path}/".startswith(f"{prefix}/"):
            return None
        path = (path.removeprefix(prefix) or "/") if strips else path
        return f"{method} {path} {_once(rest)}".encode("latin-1")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        serving.add(task)
        with closing(writer), suppress(OSError, asyncio.IncompleteReadError):
            head = passed_on(await reader.readuntil(b"\r\n\r\n"))
            if head is None:
                writer.write(_NOTHING)
                return
            source, target = await asyncio.open_connection("127.0.0.1", port)
            with closing(target):
                target.write(head)
                await asyncio.gather(_pipe(reader, target), _pipe(source, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    try:
        yield f"http://127.0.0.1:{address[1]}{prefix}"
    finally:
        server.close()
        if serving:
            await asyncio.wait(serving)
        await server.wait_closed()


def _once(rest: str) -> str:
    """Return headers with which the server closes all connections but WebSockets."""
    if "upgrade: websocket" in rest.lower():
        return rest
    version, *lines = rest.split("\r\n")
    kept = [line for line in lines if not line.lower().startswith("connection:")]
    return "\r\n".join([version, "connection: close", *kept])


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
