"""A small OpenAI-compatible provider on a real socket, controlled by the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

_HEAD = "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"

Step = str | asyncio.Event | dict[str, Any]


class Upstream:
    """Answers every request with `steps`.

    A text is sent as a delta, a dictionary as it is, and an event is waited for.

    `requests` are the bodies that arrived, `authorizations` their headers. `answered`
    is set once a request is answered, `hung_up` when a client closes its connection
    before that.
    """

    def __init__(self) -> None:
        self.steps: Sequence[Step] = ("Hel", "lo")
        self.status = 200
        self.error: dict[str, str] = {"message": "sk-secret is bad", "type": "x"}
        self.usage: dict[str, int] | None = {"prompt_tokens": 7, "completion_tokens": 3}
        self.cut = False
        self.model = "upstream-1"
        self.reason = "stop"
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str] = []
        self.received = asyncio.Event()
        self.answered = asyncio.Event()
        self.hung_up = asyncio.Event()
        self.base_url = ""
        self._serving: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Hang up on the clients that still wait for an answer."""
        tasks = list(self._serving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve a connection; called for each one."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(
            line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line
        )
        body = await reader.readexactly(int(headers["content-length"]))
        self.requests.append(json.loads(body))
        self.authorizations.append(headers.get("authorization", ""))
        self.received.set()
        answering = asyncio.create_task(self._answer(writer))
        hanging_up = asyncio.create_task(reader.read(1))
        try:
            done, _ = await asyncio.wait(
                {answering, hanging_up}, return_when=asyncio.FIRST_COMPLETED
            )
            if answering not in done:
                self.hung_up.set()
        finally:
            for part in (answering, hanging_up):
                part.cancel()
                with suppress(asyncio.CancelledError, ConnectionError):
                    await part
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        if self.status != 200:
            writer.write(_head(self.status, "application/json"))
            writer.write(json.dumps({"error": self.error}).encode())
            await writer.drain()
            return
        writer.write(_head(200, "text/event-stream"))
        for step in self.steps:
            if isinstance(step, asyncio.Event):
                await step.wait()
            else:
                text = {"choices": [{"delta": {"content": step}}]}
                writer.write(_event(text if isinstance(step, str) else step))
                await writer.drain()
        if not self.cut:
            end = {"choices": [{"delta": {}, "finish_reason": self.reason}]}
            writer.write(_event(end | {"model": self.model}))
            if self.usage:
                writer.write(_event({"choices": [], "usage": self.usage}))
            writer.write(b"data: [DONE]\n\n")
        await writer.drain()
        self.answered.set()


@asynccontextmanager
async def running_upstream(
    port: int = 0, upstream: Upstream | None = None
) -> AsyncIterator[Upstream]:
    """Serve an upstream on this machine, on a free port unless one is given."""
    upstream = upstream or Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", port)
    host, port = server.sockets[0].getsockname()
    upstream.base_url = f"http://{host}:{port}/v1"
    try:
        yield upstream
    finally:
        server.close()
        await upstream.close()


def _head(status: int, kind: str) -> bytes:
    return _HEAD.format(status=status, kind=kind).encode()


def _event(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()
