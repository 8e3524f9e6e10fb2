"""An ASGI application's answers, cut off where the client does not take them.

A server with flow control lets `send` wait for as long as the client reads nothing,
and whatever is to be sent stays open meanwhile: a provider's connection, a user's
place. Daphne's `send` never waits, and would buffer an answer without limit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from llmchat.providers.watchdog import DeadlinePassedError, Watchdog
from llmchat.realtime.asgi_server import abort, protocol_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = logging.getLogger(__name__)


class SendLimit:
    """Drops the connection of a client that takes nothing for `limit()` seconds.

    The application then hears what it hears of any client that has gone away.
    """

    def __init__(self, application: Application, limit: Callable[[], float]) -> None:
        self._application = application
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application on what may go out."""
        limit = self._limit()
        gate = _Gate(protocol_of(send))
        watchdog = Watchdog()

        async def bounded(message: Message) -> None:
            watchdog.deadline = watchdog.now() + limit
            try:
                with watchdog:
                    await gate.wait(message)
                    await send(message)
            except DeadlinePassedError:
                logger.warning("a client that does not read was cut off")
                abort(send)

        try:
            await self._application(scope, receive, bounded)
        finally:
            watchdog.close()
            gate.close()


class _Gate:
    """Twisted's flow control, where the server is daphne; open for all others.

    It is what Twisted calls a push producer: told when to pause.
    """

    def __init__(self, protocol: Any) -> None:
        self._request = protocol if hasattr(protocol, "registerProducer") else None
        self._open = asyncio.Event()
        self._open.set()
        if self._request is not None:
            self._request.registerProducer(self, True)

    async def wait(self, message: Message) -> None:
        """Wait until the client has taken what is buffered for it."""
        await self._open.wait()
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.close()  # no request may end with a producer

    def close(self) -> None:
        """Let go of the request."""
        request, self._request = self._request, None
        if request is not None and request.channel is not None:
            request.unregisterProducer()

    def pauseProducing(self) -> None:  # noqa: N802  # Twisted's name
        """Called when the client's buffer is full."""
        self._open.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        """Called when the client's buffer is empty."""
        self._open.set()

    def stopProducing(self) -> None:  # noqa: N802
        """Called when the connection is lost."""
        self._open.set()
