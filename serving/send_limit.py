"""An ASGI application's answers, cut off where the client does not take them.

A server with flow control lets `send` wait for as long as the client reads nothing,
and whatever is to be sent stays open meanwhile: a provider's connection, a user's
place. Daphne's `send` never waits, and would buffer an answer without limit.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from llmchat.providers.watchdog import DeadlinePassedError, Watchdog
from llmchat.realtime import FlowGate, abort

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = logging.getLogger(__name__)


class SendLimit:
    """Drops the connection of a client that takes nothing for `limit()` seconds.

    The application then gets the disconnect that any lost client causes.
    """

    def __init__(self, application: Application, limit: Callable[[], float]) -> None:
        self._application = application
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application on what may go out."""
        limit = self._limit()
        gate = FlowGate(send)
        watchdog = Watchdog()

        async def bounded(message: Message) -> None:
            watchdog.deadline = watchdog.now() + limit
            try:
                with watchdog:
                    await gate.wait()
                    if _is_last(message):
                        gate.close()
                    await send(message)
            except DeadlinePassedError:
                logger.warning("a client that does not read was cut off")
                abort(send)

        try:
            await self._application(scope, receive, bounded)
        finally:
            watchdog.close()
            gate.close()


def _is_last(message: Message) -> bool:
    """Return whether a message ends the answer."""
    return message["type"] == "http.response.body" and not message.get("more_body")
