"""A time limit on clients that do not read their response, as an ASGI wrapper.

On a server with flow control, `send` waits while the client does not read. All that
time the provider's connection and one of the user's streams stay open. Daphne's `send`
never waits, and would buffer a response without limit.
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
    """Drop the connection of a client that does not read for `limit()` seconds.

    The application then receives a disconnect, as for any lost client.
    """

    def __init__(self, application: Application, limit: Callable[[], float]) -> None:
        self._application = application
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and limit the time of each `send`."""
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
                logger.warning("a client that did not read was disconnected")
                abort(send)

        try:
            await self._application(scope, receive, bounded)
        finally:
            watchdog.close()
            gate.close()


def _is_last(message: Message) -> bool:
    """Return whether a message ends the response."""
    return message["type"] == "http.response.body" and not message.get("more_body")
