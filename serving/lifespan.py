"""The ASGI lifespan: start and stop."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from llmchat.answers import runtime
from llmchat.overhead import overhead
from llmchat.routing import RealTime
from serving import garbage, master
from serving.draining import Draining

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

logger = logging.getLogger(__name__)


class Lifespan:
    """The ASGI lifespan application."""

    def __init__(self, real_time: RealTime, draining: Draining) -> None:
        self._real_time = real_time
        self._draining = draining

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._start()
                except Exception as exc:
                    logger.exception("the server cannot start: %s", _text_of(exc))
                    # uvicorn would log a message here a second time.
                    await send({"type": "lifespan.startup.failed", "message": ""})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                self._real_time.shutdown()
                await runtime.shutdown()
                overhead.log()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _start(self) -> None:
        master.watch()
        self._draining.watch(has_lifespan=True)
        await runtime.startup()
        garbage.settle()


def _text_of(exc: Exception) -> str:
    """Return the exception's text, or the name of its class if it has none."""
    return str(exc) or type(exc).__name__
