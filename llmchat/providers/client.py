"""The way to the providers: one pool of connections, retries, keys."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress

from .attempt import ChatStream
from .errors import ProviderError
from .retry import Attempts, OnKeyRefused
from .http.default import new_transport
from .transport import Response, Transport, TransportError
from .types import Chat, Event, Key, Provider, Timeouts, Usage

logger = logging.getLogger(__name__)

_DRAIN_S = 1.0
_MAX_DRAINED_BYTES = 64 * 1024
OnUsage = Callable[[Usage], None]


class ProviderClient:
    """One pool of connections for all providers, to be used on one event loop.

    `timeouts` are the defaults of each stream. A stream beyond `max_connections`
    waits for its turn, within its first-token limit. `transport` replaces HTTP.
    """

    def __init__(
        self,
        timeouts: Timeouts,
        *,
        max_connections: int = 1000,
        transport: Transport | None = None,
    ) -> None:
        self._timeouts = timeouts
        self._drains: set[asyncio.Task[None]] = set()
        self._transport: Transport = transport or new_transport(
            max_connections=max_connections
        )

    async def aclose(self) -> None:
        """Close every connection. Streams still running fail."""
        drains = list(self._drains)
        for task in drains:
            task.cancel()
        await asyncio.gather(*drains, return_exceptions=True)
        await self._transport.aclose()

    async def stream_chat(
        self,
        provider: Provider,
        keys: Sequence[Key],
        chat: Chat,
        *,
        timeouts: Timeouts | None = None,
        on_key_refused: OnKeyRefused | None = None,
        on_billed: OnUsage | None = None,
        on_cut: OnUsage | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Yield the answer's deltas and then exactly one `Finished`.

        Closing it, or cancelling the task that awaits it, closes the connection at
        once. `on_key_refused` is called for each key that is not taken, before the next
        is tried; its error tells whether the key is to blame. `on_billed` is called
        with what was counted of each attempt that failed, `on_cut` with that of one
        that was closed or cancelled.

        Raises:
            ProviderError: there is no whole answer; deltas may have been yielded.
        """
        attempts = Attempts(provider, keys, on_key_refused)
        stream = ChatStream(
            self._transport, provider, chat, timeouts or self._timeouts, self._drain
        )
        try:
            while True:
                try:
                    attempt = stream.attempt(attempts.key, attempts.count)
                    async with aclosing(attempt) as events:
                        async for event in events:
                            yield event
                    return
                except ProviderError as error:
                    error.usage = _taken(stream, on_billed)
                    attempts.sign(error)
                    logger.info(
                        "%s, attempt %d: %s", provider.name, attempts.count, error
                    )
                    if stream.has_text:
                        raise
                    await stream.wait(attempts.next_delay(error), error)
        finally:
            stream.close()
            _taken(stream, on_cut)

    def _drain(self, response: Response) -> None:
        task = asyncio.create_task(_read_to_end(response))
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)


def _taken(stream: ChatStream, tell: OnUsage | None) -> Usage | None:
    """Return what was counted of the present attempt, and tell of it."""
    usage = stream.take_usage()
    if usage is not None and tell is not None:
        tell(usage)
    return usage


async def _read_to_end(response: Response) -> None:
    """Read what follows the terminator, so that the connection can be used again."""
    rest = 0
    try:
        with suppress(TransportError, TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                async for chunk in response.body:
                    rest += len(chunk)
                    if rest > _MAX_DRAINED_BYTES:
                        break
    finally:
        await response.aclose()
