"""A load balancer without stickiness: each request goes to the next of several workers.

    python -m tests.proxy --port 4000 --to 4001,4002 --reset-every 15

Each connection carries one request, either plain HTTP or a WebSocket, and then raw
bytes in both directions. Connections can be reset, at random or on demand.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Self

from tests.support.live import free_port

LIMIT_S = 10.0
MAX_HEAD_BYTES = 64 * 1024
_UPGRADE = re.compile(rb"(?im)^upgrade:[ \t]*websocket")
_CONNECTION = re.compile(rb"(?im)^connection:.*\r\n")
_ABORT = struct.pack("ii", 1, 0)


class Proxy:
    """A proxy on a port of its own; `workers` are ports, and can change at any time."""

    def __init__(
        self,
        workers: Sequence[int],
        *,
        port: int | None = None,
        reset_every_s: float | None = None,
        seed: int = 0,
    ) -> None:
        """`reset_every_s` is how long a connection lives on average."""
        self.workers = list(workers)
        # Nothing else may soon get this port: clients keep reconnecting to it.
        self.port = free_port() if port is None else port
        self.served = 0
        self._reset_every_s = reset_every_s
        self._dice = random.Random(seed)
        self._turn = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._is_over = False

    @property
    def url(self) -> str:
        """The address of the proxy."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, limit=MAX_HEAD_BYTES, backlog=1024
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._is_over = True
        self._server.close()
        self.reset_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset_all(self) -> int:
        """Reset every connection of a client; return how many there were."""
        found = list(self._open)
        for writer in found:
            _reset(writer)
        return len(found)

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._is_over:  # it was accepted at the last moment
            writer.transport.abort()
            return
        self._open.add(writer)
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(partial(self._forget, writer))

    def _forget(self, writer: asyncio.StreamWriter, task: asyncio.Task[None]) -> None:
        # Not done by the task itself, which may be cancelled before its first step.
        self._tasks.discard(task)
        self._open.discard(writer)
        writer.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        timer = None
        if self._reset_every_s is not None:
            life_s = self._dice.expovariate(1 / self._reset_every_s)
            timer = asyncio.get_running_loop().call_later(life_s, _reset, writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if not _UPGRADE.search(head):
                head = _CONNECTION.sub(b"", head)[:-2] + b"Connection: close\r\n\r\n"
            await self._pass_on(head, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            if timer is not None:
                timer.cancel()

    async def _pass_on(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        upstream = await self._connect()
        if upstream is None:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        from_worker, to_worker = upstream
        to_worker.write(head)
        # Nothing is awaited before the `try`, whose `finally` closes the connection.
        ways = [
            asyncio.create_task(_copy(reader, to_worker)),
            asyncio.create_task(_copy(from_worker, writer)),
        ]
        try:
            # If either side is lost, so is the other.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # This comes first: what follows may be cancelled.
            to_worker.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            with suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.drain(), LIMIT_S)

    async def _connect(
        self,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Connect to the next worker that accepts; return None if none does."""
        for _ in range(len(self.workers)):
            worker = self.workers[self._turn % len(self.workers)]
            self._turn += 1
            try:
                connected = await asyncio.open_connection("127.0.0.1", worker)
            except OSError:
                continue
            self.served += 1
            return connected
        return None


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(64 * 1024):
        writer.write(data)
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a reset, as if it had been lost."""
    connection = writer.get_extra_info("socket")
    if connection is not None and not writer.is_closing():
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    writer.transport.abort()


async def _main(options: argparse.Namespace) -> None:
    workers = [int(port) for port in options.to.split(",")]
    proxy = Proxy(
        workers,
        port=options.port,
        reset_every_s=options.reset_every,
        seed=options.seed,
    )
    async with proxy:
        print(f"{proxy.url} to {workers}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--to", required=True)
    parser.add_argument("--reset-every", type=float)
    parser.add_argument("--seed", type=int, default=0)
    asyncio.run(_main(parser.parse_args()))
