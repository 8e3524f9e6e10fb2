"""What happens when the server starts and when it stops."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from llmchat import runtime
from llmchat.routing import RealTime

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Lifespan:
    """The ASGI lifespan application."""

    def __init__(self, real_time: RealTime) -> None:
        self._real_time = real_time

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._release_polls_on_signal()
                await runtime.startup()
                await send({"type": "lifespan.startup.complete"})
            else:
                self._real_time.shutdown()
                await runtime.shutdown()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _release_polls_on_signal(self) -> None:
        """Ends the sessions as soon as the server is told to stop.

        A server waits for its open requests before it ends the lifespan, and a poll
        may be open for as long as a ping interval.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            previous = signal.getsignal(number)
            if not callable(previous):
                continue

            def handle(
                signum: int,
                frame: FrameType | None,
                previous: Callable[[int, FrameType | None], Any] = previous,
            ) -> None:
                loop.call_soon_threadsafe(self._real_time.shutdown)
                previous(signum, frame)

            signal.signal(number, handle)
