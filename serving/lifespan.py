"""The ASGI lifespan: start and stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from llmchat.answers import runtime
from llmchat.overhead import overhead
from llmchat.routing import RealTime
from serving import garbage, master
from serving.draining import Draining

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Lifespan:
    """The ASGI lifespan application."""

    def __init__(self, real_time: RealTime, draining: Draining) -> None:
        self._real_time = real_time
        self._draining = draining

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                master.watch()
                self._draining.watch(has_lifespan=True)
                await runtime.startup()
                garbage.settle()
                await send({"type": "lifespan.startup.complete"})
            else:
                self._real_time.shutdown()
                await runtime.shutdown()
                overhead.log()
                await send({"type": "lifespan.shutdown.complete"})
                return
