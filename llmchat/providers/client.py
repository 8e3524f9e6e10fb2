"""The way to the providers: one pool of connections, retries, keys."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from functools import cache

import httpx
from httpx_aiohttp import HttpxAiohttpClient

from .attempt import NETWORK_ERRORS, Body, ChatStream
from .errors import ProviderError
from .retry import Attempts, OnKeyRefused
from .types import Chat, Event, Key, Provider, Timeouts, Usage

logger = logging.getLogger(__name__)

_KEEPALIVE_S = 30.0
_DRAIN_S = 1.0
_MAX_DRAINED_BYTES = 64 * 1024
# A server on this machine, the embedded model above all, is no proxy's business.
_UNPROXIED = ("all://127.0.0.1", "all://localhost", "all://[::1]")
_HEADERS = {
    "Accept": "text/event-stream",
    # No middle box shall hold text back in order to compress it.
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": "llmchat",
}


class ProviderClient:
    """One pool of connections for all providers, to be used on one event loop.

    `timeouts` are the defaults of each stream. A stream beyond `max_connections`
    waits for its turn, within its first-token limit.
    """

    def __init__(self, timeouts: Timeouts, *, max_connections: int = 1000) -> None:
        self._timeouts = timeouts
        self._drains: set[asyncio.Task[None]] = set()
        limits = httpx.Limits(
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=_KEEPALIVE_S,
        )
        # Redirects are not followed: one would carry the key to another host.
        self._http = HttpxAiohttpClient(
            limits=limits,
            headers=_HEADERS,
            follow_redirects=False,
            trust_env=True,
            verify=_tls_context(),
            mounts=dict.fromkeys(_UNPROXIED),
        )

    async def aclose(self) -> None:
        """Close every connection. Streams still running fail."""
        drains = list(self._drains)
        for task in drains:
            task.cancel()
        await asyncio.gather(*drains, return_exceptions=True)
        await self._http.aclose()

    async def stream_chat(
        self,
        provider: Provider,
        keys: Sequence[Key],
        chat: Chat,
        *,
        timeouts: Timeouts | None = None,
        on_key_refused: OnKeyRefused | None = None,
        on_billed: Callable[[Usage], None] | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Yield the answer's deltas and then exactly one `Finished`.

        Closing the generator, or cancelling the task that awaits it, closes the
        connection to the provider at once, whatever it was waiting for.
        `on_key_refused` is called for each key that the provider does not take; the
        next one is tried unseen. Its error tells whether the key is to blame.
        `on_billed` is called with what the provider has counted of each attempt that
        failed.

        Raises:
            ProviderError: there is no whole answer; deltas may have been yielded.
        """
        attempts = Attempts(provider, keys, on_key_refused)
        stream = ChatStream(
            self._http, provider, chat, timeouts or self._timeouts, self._drain
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
                    error.attempts = attempts.count
                    if on_billed is not None and error.usage is not None:
                        on_billed(error.usage)
                    if attempts.key is not None:
                        error.hide(attempts.key.value)
                    logger.info(
                        "%s, attempt %d: %s", provider.name, attempts.count, error
                    )
                    if stream.deltas:
                        raise
                    await stream.wait(attempts.next_delay(error), error)
        finally:
            stream.close()

    def _drain(self, response: httpx.Response, body: Body) -> None:
        task = asyncio.create_task(_read_to_end(response, body))
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)


@cache
def _tls_context() -> ssl.SSLContext:
    # Reading the certificates takes longer than all the rest of a client.
    return httpx.create_ssl_context()


async def _read_to_end(response: httpx.Response, body: Body) -> None:
    """Read what follows the terminator, so that the connection can be used again."""
    rest = 0
    try:
        with suppress(*NETWORK_ERRORS):
            async with asyncio.timeout(_DRAIN_S), aclosing(body) as chunks:
                async for chunk in chunks:
                    rest += len(chunk)
                    if rest > _MAX_DRAINED_BYTES:
                        break
    finally:
        await response.aclose()
