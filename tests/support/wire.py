"""Clients that put bytes on the wire themselves, and the servers they talk to.

The stock clients hide what these tests are about: which frame arrived first, what the
status of a response was, what happens to a client that misbehaves.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support import warm
from tests.support.live import START_LIMIT_S, STOP_LIMIT_S, free_port, start_module

RS = "\x1e"
LIMIT_S = 20.0


def dumps(value: Any) -> str:
    """Return compact JSON, as both sides write it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def event(*args: Any, namespace: str = "/", ack_id: int | None = None) -> str:
    """Return the Engine.IO message that emits an event."""
    prefix = "" if namespace == "/" else namespace + ","
    return f"42{prefix}{'' if ack_id is None else ack_id}{dumps(args)}"


class Wire:
    """A server process, or several, that serve one profile of `protocol_app`."""

    def __init__(
        self, profile: str, kind: str, log: Path, *, workers: int = 1, redis: str = ""
    ) -> None:
        """`workers` is how many processes share the work, through a `redis`."""
        self.kind = kind
        self.ports = [free_port() for _ in range(workers)]
        self.port = self.ports[0]
        ports = ",".join(map(str, self.ports))
        self.log = log
        self.path = "/socket.io/"
        self.expected_tracebacks = 0
        with log.open("wb") as output:
            self.process = start_module(
                [
                    *("tests.protocol_app", "--profile", profile, "--server", kind),
                    *("--port", str(self.port)),
                    *(("--ports", ports) if workers > 1 else ()),
                    *(("--redis", redis) if redis else ()),
                ],
                {**os.environ, "PYTHONUNBUFFERED": "1"},
                output,
                strict=True,
            )
        try:
            wait_until_open(self.ports, self.process)
        except BaseException:
            self.stop()
            raise

    def log_text(self) -> str:
        """Return all that the server has logged so far."""
        return self.log.read_text(errors="replace")

    def rss(self) -> int:
        """Return the server's resident memory in bytes."""
        statm = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """Stop the process, by force if necessary."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()

    def needs_one_worker(self, why: str) -> None:
        """Skip the test if there are several workers."""
        if len(self.ports) > 1:
            pytest.skip(why)

    def at(self, port: int) -> Wire:
        """Return the same server, reached through another port."""
        found = copy.copy(self)
        found.port = port
        return found

    def target(self, query: str | None = None, **more: str) -> str:
        """Return the path and query of a request; `query` replaces the usual one."""
        if query is None:
            query = "&".join(f"{k}={v}" for k, v in {"EIO": "4", **more}.items())
        return f"{self.path}?{query}"

    def url(self, query: str | None = None, **more: str) -> str:
        """Return the address of a request."""
        return f"http://127.0.0.1:{self.port}{self.target(query, **more)}"

    @asynccontextmanager
    async def polling(self, **query: str) -> AsyncIterator[Polling]:
        """Yield a client that has completed the handshake by polling."""
        async with http_client() as http:
            client = Polling(self, http)
            await client.open(**query)
            yield client

    @asynccontextmanager
    async def websocket(
        self, query: str | None = None, **options: Any
    ) -> AsyncIterator[WebSocket]:
        """Yield a WebSocket; by default one that has opened a session."""
        own = query is None
        url = self.url(query or "EIO=4&transport=websocket").replace("http", "ws", 1)
        options = {"max_size": None, **options}
        async with connect(
            url,
            compression=None,
            proxy=None,
            ping_interval=None,
            close_timeout=1,
            **options,
        ) as connection:
            client = WebSocket(connection)
            if own:
                client.handshake = json.loads((await client.read())[1:])
            yield client

    @asynccontextmanager
    async def joined(
        self, namespace: str = "/", auth: Any = None, query: str | None = None
    ) -> AsyncIterator[WebSocket]:
        """Yield a WebSocket that has joined a namespace."""
        async with self.websocket() as client:
            await client.join(namespace, auth)
            yield client

    async def catch_up(self) -> None:
        """Wait until the server has handled what was written to it before.

        It reads its connections in the order of arrival, and this sends a few more
        requests on a newer connection. If there are several workers, none of them has
        unread letters of the others left either: letters arrive in order, and those
        that these requests cause are queued behind them.
        """
        if len(self.ports) > 1:
            await self._catch_up_with_all()
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        async with asyncio.timeout(LIMIT_S):
            for _ in range(5):
                writer.write(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
                await reader.readuntil(b"not found")
        writer.close()
        await writer.wait_closed()

    async def _catch_up_with_all(self) -> None:
        target = self.target(transport="polling")
        urls = [f"http://127.0.0.1:{port}{target}" for port in self.ports]
        async with http_client() as http, asyncio.timeout(LIMIT_S):
            opened = [await http.get(url) for url in urls]
            sids = [response.text.partition('"sid":"')[2] for response in opened]
            unknown = [sid.partition('"')[0][:-1] + "~" for sid in sids]
            asked = [http.get(f"{url}&sid={sid}") for url in urls for sid in unknown]
            answers = await asyncio.gather(*asked)
        assert {answer.status_code for answer in answers} == {400}

    async def check_healthy(self) -> None:
        """Assert that a new client is served as if nothing had happened."""
        async with self.joined() as client:
            await client.send(event("echo", "still here", ack_id=1))
            assert await client.receive() == '431["still here"]'


class Polling:
    """A client on long-polling; nothing is sent unless a test says so."""

    def __init__(self, wire: Wire, http: httpx.AsyncClient) -> None:
        self.wire = wire
        self.http = http
        self.sid = ""
        self.handshake: dict[str, Any] = {}
        self.waiting: list[str] = []

    async def open(self, **query: str) -> None:
        """Complete the handshake."""
        url = self.wire.url(transport="polling", **query)
        response = await self.http.get(url)
        assert response.status_code == 200, response.text
        self.handshake = json.loads(response.text[1:])
        self.sid = self.handshake["sid"]

    @property
    def url(self) -> str:
        return self.wire.url(transport="polling", sid=self.sid)

    @property
    def upgrade_query(self) -> str:
        return f"EIO=4&transport=websocket&sid={self.sid}"

    async def get(self, **options: Any) -> httpx.Response:
        """Poll once."""
        return await self.http.get(self.url, **options)

    async def hold(self) -> asyncio.Task[httpx.Response]:
        """Start a poll, which the server holds unless it has something to send."""
        poll = asyncio.create_task(self.get())
        await self.wire.catch_up()
        return poll

    async def post(self, body: str | bytes, **options: Any) -> httpx.Response:
        """POST packets once."""
        return await self.http.post(self.url, content=body, **options)

    async def begin_post(
        self, begun: bytes = b"42", length: int = 10
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Begin a POST that is not finished, on a connection of its own."""
        target = self.wire.target(transport="polling", sid=self.sid)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.wire.port)
        head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        writer.write(head.encode() + begun)
        return reader, writer

    async def receive(self) -> str:
        """Return the next packet, after answering pings and skipping noops."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                while not self.waiting:
                    response = await self.get()
                    assert response.status_code == 200, response.status_code
                    self.waiting = response.text.split(RS)
                packet = self.waiting.pop(0)
                if packet == "2":
                    await self.post("3")
                elif packet != "6":
                    return packet

    async def join(self, namespace: str = "/", auth: Any = None) -> dict[str, Any]:
        """Join a namespace; return the content of the answer."""
        await self.post(connect_packet(namespace, auth))
        return connected(await self.receive(), namespace)

    async def ask(self, name: str, *args: Any, namespace: str = "/") -> Any:
        """Emit an event and return the arguments of its acknowledgement."""
        await self.post(event(name, *args, namespace=namespace, ack_id=77))
        return await answer_of(self.receive, namespace)

    async def expect_end(self) -> None:
        """Assert that the session is gone."""
        response = await self.get()
        assert response.status_code == 400
        assert response.json()["code"] == 1


class WebSocket:
    """A client on a WebSocket; nothing is sent unless a test says so."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.handshake: dict[str, Any] = {}

    @property
    def sid(self) -> str:
        sid: str = self.handshake["sid"]
        return sid

    async def send(self, *frames: str | bytes) -> None:
        """Send frames, one after another.

        A server that closes may do so while they are still being written; the close is
        left for the reader to find.
        """
        with suppress(ConnectionClosed):
            for frame in frames:
                await self.connection.send(frame)

    async def read(self) -> Any:
        """Return the next frame, whatever it is."""
        return await asyncio.wait_for(self.connection.recv(), LIMIT_S)

    async def receive(self) -> Any:
        """Return the next frame, after answering pings."""
        async with asyncio.timeout(LIMIT_S):
            while (frame := await self.connection.recv()) == "2":
                await self.send("3")
        return frame

    async def join(self, namespace: str = "/", auth: Any = None) -> dict[str, Any]:
        """Join a namespace; return the content of the answer."""
        await self.send(connect_packet(namespace, auth))
        return connected(await self.receive(), namespace)

    async def ask(self, name: str, *args: Any, namespace: str = "/") -> Any:
        """Emit an event and return the arguments of its acknowledgement."""
        await self.send(event(name, *args, namespace=namespace, ack_id=77))
        return await answer_of(self.receive, namespace)

    async def expect_close(self, within_s: float = LIMIT_S) -> int:
        """Wait until the server closes; return its close code."""
        async with asyncio.timeout(within_s):
            while True:
                try:
                    await self.connection.recv()
                except ConnectionClosed:
                    return self.connection.close_code or 1006

    async def expect_silence(self, for_s: float) -> None:
        """Assert that nothing but pings arrives for a while."""
        try:
            async with asyncio.timeout(for_s):
                frame = await self.receive()
        except TimeoutError:
            return
        raise AssertionError(f"something came: {frame!r}")


def connect_packet(namespace: str, auth: Any) -> str:
    """Return the message that asks for a namespace."""
    prefix = "" if namespace == "/" else namespace + ","
    return f"40{prefix}{'' if auth is None else dumps(auth)}"


def connected(packet: str, namespace: str) -> dict[str, Any]:
    """Return the content of an answer to CONNECT."""
    prefix = "40" if namespace == "/" else f"40{namespace},"
    assert packet.startswith(prefix), packet
    content: dict[str, Any] = json.loads(packet[len(prefix) :])
    return content


async def answer_of(receive: Callable[[], Any], namespace: str) -> Any:
    """Return the arguments of the acknowledgement that `ask` waits for."""
    prefix = "43" if namespace == "/" else f"43{namespace},"
    while True:
        packet = await receive()
        if isinstance(packet, str) and packet.startswith(prefix + "77["):
            return json.loads(packet[len(prefix) + 2 :])


def content_of(packet: str, namespace: str = "/") -> list[Any]:
    """Return an event's name and arguments, followed by any offset for recovery."""
    prefix = "42" if namespace == "/" else f"42{namespace},"
    assert packet.startswith(prefix), packet
    content: list[Any] = json.loads(packet[len(prefix) :])
    return content


async def eventually(condition: Callable[[], bool], within_s: float = LIMIT_S) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - it is not this process's to tell
            await asyncio.sleep(0.02)


def http_client() -> httpx.AsyncClient:
    """Return an HTTP client that ignores this machine's environment."""
    return httpx.AsyncClient(trust_env=False, timeout=LIMIT_S)


async def raw_exchange(port: int, request: bytes, limit: int = 65536) -> bytes:
    """Write bytes to a server; return the first bytes that come back, or none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(LIMIT_S):
            return await reader.read(limit)
    finally:
        writer.close()


def wait_until_open(
    ports: list[int], process: subprocess.Popen[bytes] | warm.Process
) -> None:
    """Wait until a process listens on all of these ports.

    Raises: RuntimeError, if it ends or takes too long.
    """
    awaited = list(ports)
    deadline = time.monotonic() + START_LIMIT_S
    while awaited:
        if time.monotonic() > deadline or process.poll() is not None:
            raise RuntimeError("the server did not start")
        try:
            socket.create_connection(("127.0.0.1", awaited[-1]), 1).close()
            awaited.pop()
        except OSError:
            time.sleep(0.05)


async def gone(wire: Wire, socket_id: str, namespace: str = "/") -> list[str]:
    """Return the reasons of all disconnects of a socket that the application saw.

    Each worker knows only those that it saw itself.
    """
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(wire.at(port).joined(namespace))
            for port in wire.ports
        ]
        async with asyncio.timeout(LIMIT_S):
            while True:
                for client in clients:
                    [entries] = await client.ask("gone", socket_id, namespace=namespace)
                    if entries:
                        return [entry["reason"] for entry in entries]
                await asyncio.sleep(0.02)
