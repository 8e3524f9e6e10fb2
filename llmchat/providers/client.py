"""The client for all providers: one pool of connections, with retries and keys."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import TypedDict, Unpack

from .attempt import ChatStream
from .errors import ProviderError
from .http.default import new_transport
from .retry import Attempts, OnKeyRefused
from .transport import Response, Transport, TransportError
from .types import (
    Answerer,
    Batch,
    Chat,
    Delta,
    Event,
    Finished,
    Key,
    Provider,
    Timeouts,
    Usage,
)

logger = logging.getLogger(__name__)

_DRAIN_S = 1.0
_MAX_DRAINED_BYTES = 64 * 1024
OnUsage = Callable[[Usage], None]
OnAnswered = Callable[[Answerer], None]


class StreamOptions(TypedDict, total=False):
    """The options of one stream.

    `timeouts` replace the client's. `on_key_refused` is called for each key that the
    provider refuses, before the next one is tried; its error says whether the key is to
    blame. `on_billed` is called with the usage of each attempt that failed, `on_cut`
    with the usage of an attempt that was closed or cancelled. `on_answered` is called
    when the stream ends, in whatever way, with who answered according to the provider.
    `on_asking` is called with True as the request of each attempt leaves, and with
    False if the attempt has failed.
    """

    timeouts: Timeouts | None
    on_key_refused: OnKeyRefused | None
    on_billed: OnUsage | None
    on_cut: OnUsage | None
    on_answered: OnAnswered | None
    on_asking: Callable[[bool], None] | None


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

    @property
    def connections_in_use(self) -> int | None:
        """Return how many connections requests hold, None if that is not known."""
        return self._transport.in_use

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
        **options: Unpack[StreamOptions],
    ) -> AsyncGenerator[Event, None]:
        """Yield the answer's deltas one by one and then exactly one `Finished`.

        Otherwise it is like `stream_chat_batches`.
        """
        stream = self.stream_chat_batches(provider, keys, chat, **options)
        async with aclosing(stream) as batches:
            async for batch in batches:
                if isinstance(batch, Finished):
                    yield batch
                    return
                for text in batch:
                    yield Delta(text)

    async def stream_chat_batches(
        self,
        provider: Provider,
        keys: Sequence[Key],
        chat: Chat,
        **options: Unpack[StreamOptions],
    ) -> AsyncGenerator[Batch, None]:
        """Yield the answer's text, the pieces of one read together, then `Finished`.

        Closing it, or cancelling the task that awaits it, closes the connection
        immediately.

        Raises:
            ProviderError: there is no complete answer; text may have been yielded.
        """
        attempts = Attempts(provider, keys, options.get("on_key_refused"))
        timeouts = options.get("timeouts") or self._timeouts
        note_asking = options.get("on_asking") or _ignore
        stream = ChatStream(
            self._transport,
            provider,
            chat,
            timeouts,
            self._drain,
            partial(note_asking, True),
        )
        try:
            while True:
                try:
                    attempt = stream.attempt(attempts.key, attempts.count)
                    async with aclosing(attempt) as batches:
                        async for batch in batches:
                            yield batch
                    return
                except ProviderError as error:
                    note_asking(False)
                    _tell_usage(stream, options.get("on_billed"))
                    await _prepare_next(stream, attempts, error)
        finally:
            stream.close()
            _tell_usage(stream, options.get("on_cut"))
            if (tell := options.get("on_answered")) is not None:
                tell(stream.answerer)

    def _drain(self, response: Response) -> None:
        if response.is_over():
            return
        task = asyncio.create_task(_read_to_end(response))
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)


async def _prepare_next(
    stream: ChatStream, attempts: Attempts, error: ProviderError
) -> None:
    """Wait before the next attempt, or raise the error if there is to be none."""
    attempts.sign(error)
    logger.info("%s, attempt %d: %s", stream.provider_name, attempts.count, error)
    if stream.has_text:
        raise error
    await stream.wait(attempts.next_delay(error), error)


def _ignore(is_asked: bool) -> None:
    """Do nothing."""


def _tell_usage(stream: ChatStream, tell: OnUsage | None) -> None:
    """Take the usage of the current attempt, if there is any, and pass it on."""
    usage = stream.take_usage()
    if usage is not None and tell is not None:
        tell(usage)


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
