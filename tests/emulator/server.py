"""The emulator's HTTP server, written by hand so that it can misbehave on the wire.

`GET /_requests` reports what it was sent, and `POST /_reset` forgets that.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Self

from .request import Request
from .response import Hold, Pause, Repeat, Reset, Response, json_response

Answer = Callable[[Request, int], Response]
_GONE = (ConnectionError, asyncio.IncompleteReadError, TimeoutError, ssl.SSLError)


class Emulator:
    """Serves `answer(request, number)` on loopback; `number` counts earlier repeats.

    Two requests are the same if their target and body are.
    """

    def __init__(
        self, answer: Answer, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._answer = answer
        self._port = port
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._repeats: Counter[tuple[str, bytes]] = Counter()
        self._changed = asyncio.Event()
        self.requests: list[Request] = []
        self.connections = 0

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{port}"

    @property
    def open_requests(self) -> list[Request]:
        return [request for request in self.requests if not request.ended]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._on_connection, "127.0.0.1", self._port, backlog=2048, ssl=self._tls
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 10) -> None:
        """Wait until something that the emulator saw makes `condition` true."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def reset(self) -> None:
        """Forget all requests and repeats."""
        self.requests.clear()
        self._repeats.clear()

    async def _on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(*_GONE):
                while await self._serve_one(reader, writer):
                    pass
        except asyncio.CancelledError:
            pass  # the emulator is stopping; asyncio's streams would log an error
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _serve_one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        request = await _read_request(reader)
        response = self._respond(request)
        watch = asyncio.create_task(reader.read(1))
        play = asyncio.create_task(_Player(writer, request).play(response))
        try:
            await asyncio.wait({watch, play}, return_when=asyncio.FIRST_COMPLETED)
            # That the client has left may be noticed first by either of the two.
            request.hung_up = not play.done() or isinstance(
                play.exception(), ConnectionError
            )
        finally:
            for task in (watch, play):
                task.cancel()
            await asyncio.gather(watch, play, return_exceptions=True)
            request.ended = True
            request.ended_at = asyncio.get_running_loop().time()
            self._changed.set()
        return not request.hung_up and play.exception() is None and play.result()

    def _respond(self, request: Request) -> Response:
        if request.path == "/_requests":
            return json_response([item.record() for item in self.requests])
        if request.path == "/_reset":
            self.reset()
            return json_response({})
        same = (request.target, request.raw_body)
        number = self._repeats[same]
        self._repeats[same] += 1
        response = self._answer(request, number)
        self.requests.append(request)
        self._changed.set()
        return response


class _Player:
    """Sends one response, step by step."""

    def __init__(self, writer: asyncio.StreamWriter, request: Request) -> None:
        self._writer = writer
        self._request = request
        self._chunked = False

    async def play(self, response: Response) -> bool:
        """Return whether the connection may serve another request."""
        await asyncio.sleep(response.delay_s)
        self._request.status = response.status
        self._chunked = response.framing == "chunked"
        if response.status:
            self._writer.write(_head(response))
        for step in response.steps:
            if isinstance(step, Reset):
                self._reset()
                return False
            await self._do(step)
        if not response.whole or response.framing == "close":
            await self._writer.drain()
            self._writer.close()
            await self._writer.wait_closed()
            return False
        if self._chunked:
            self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()
        return True

    async def _do(self, step: bytes | Pause | Hold | Repeat) -> None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Hold):
            await step.until.wait()
        elif isinstance(step, bytes):
            await self._send(step)
        else:
            while True:
                await self._send(step.data)
                await asyncio.sleep(step.every_s)

    async def _send(self, data: bytes) -> None:
        if not data:
            return
        self._request.sent_bytes += len(data)
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._writer.write(data)
        await self._writer.drain()

    def _reset(self) -> None:
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    length = int(headers.get("content-length", 0))
    if headers.get("transfer-encoding") == "chunked":
        body = await _read_chunked(reader)
    else:
        body = await reader.readexactly(length)
    now = asyncio.get_running_loop().time()
    return Request(method, target, headers, body, now)


async def _read_chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return body


def _head(response: Response) -> bytes:
    reason = HTTPStatus(response.status).phrase if response.status < 520 else "Error"
    lines = [f"HTTP/1.1 {response.status} {reason}"]
    if response.content_type:
        lines.append(f"content-type: {response.content_type}")
    if response.framing == "chunked":
        lines.append("transfer-encoding: chunked")
    elif response.framing == "close":
        lines.append("connection: close")
    else:
        length = sum(len(step) for step in response.steps if isinstance(step, bytes))
        lines.append(f"content-length: {length}")
    lines += (f"{name}: {value}" for name, value in response.headers.items())
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
