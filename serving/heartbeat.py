"""Server-sent events that are never silent for long.

A model may think for a minute before its first word, and proxies close a response that
is silent for that long. A comment, which clients skip, keeps it open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

EVERY_S = 15.0
_COMMENT = {"type": "http.response.body", "body": b":\n\n", "more_body": True}


class Heartbeat:
    """Send a comment whenever an event stream has been silent for `EVERY_S`."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; add comments to its response if that is a stream."""
        response = _Response(send)
        try:
            await self._application(scope, receive, response.send)
        finally:
            await response.close()


class _Response:
    """One response; a lock keeps its messages and the comments apart."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = asyncio.Lock()
        self._sent_at = 0.0
        self._beating: asyncio.Task[None] | None = None

    async def send(self, message: Message) -> None:
        """Called by the application for each message."""
        async with self._lock:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self._stop()
            await self._send(message)
        self._sent_at = asyncio.get_running_loop().time()
        if message["type"] == "http.response.start" and _is_event_stream(message):
            self._beating = asyncio.create_task(self._keep_beating())

    async def close(self) -> None:
        """Stop the comments, and wait until none is being sent."""
        task = self._beating
        self._stop()
        if task is not None:
            await asyncio.wait([task])

    def _stop(self) -> None:
        task, self._beating = self._beating, None
        if task is not None:
            task.cancel()

    async def _keep_beating(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                await asyncio.sleep(self._sent_at + EVERY_S - loop.time())
                if loop.time() < self._sent_at + EVERY_S:
                    continue
                async with self._lock:
                    await self._send(_COMMENT)
                self._sent_at = loop.time()
        except OSError:
            return  # the connection is lost; the application will notice by itself


def _is_event_stream(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in message["headers"]
    )
