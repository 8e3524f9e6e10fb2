"""One answer across all its attempts: requests to a provider, and their responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from enum import Enum

from .answer import conclude, usage_so_far
from .answerer import answerer_of, without_echo
from .classify import error_from_response
from .decoder import Decoder
from .errors import (
    ModelNotFoundError,
    ProviderAuthError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from .options import too_deep
from .reading import Reading, as_dict
from .registry import ADAPTERS
from .retry import ConnectionDroppedError
from .text import decode_json, encode_json
from .transport import (
    AddressError,
    ConnectTimeoutError,
    Request,
    Response,
    Transport,
    TransportError,
    UnreachableError,
)
from .types import NOBODY, Batch, Chat, Key, Provider, Timeouts, Usage
from .watchdog import DeadlinePassedError, Watchdog

Drain = Callable[[Response], None]

_GRACE_S = 5.0  # for usage and terminator, once no more text can follow
_ERROR_BODY_S = 5.0
_MAX_ERROR_BYTES = 64 * 1024
_HEADERS = {
    "Accept": "text/event-stream",
    # No middlebox should hold text back in order to compress it.
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": "llmchat",
}


class ChatStream:
    """One answer across all its attempts, which share one clock.

    Once there is visible text, no other attempt may be made. `drain` takes over a
    response whose answer is complete; `on_sending` is called as each request leaves.
    `answerer` is who answered the last attempt; `take_usage` sets it.

    Cancellation needs no code here: it is raised by the wait that it interrupts, or by
    the `yield` at which the generator is closed, and leaves through the `finally` that
    closes the response. This drops the connection, which is the one way to make every
    provider stop generating, and billing. Afterwards the client takes what the provider
    had counted until then (`take_usage`).

    A wait for the network can fail in two ways, by an error of the network or by our
    deadline. Both are caught only around that wait. A `yield` hands control to the
    consumer, whose errors come back through it, and an adapter may have a bug: neither
    is the provider's fault. A retry would be billed a second time, and would hide what
    a traceback should show.
    """

    def __init__(
        self,
        transport: Transport,
        provider: Provider,
        chat: Chat,
        timeouts: Timeouts,
        drain: Drain,
        on_sending: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._provider = provider
        self._chat = chat
        self._timeouts = timeouts
        self._drain = drain
        self._on_sending = on_sending
        self._adapter = ADAPTERS[provider.protocol]
        self._watchdog = Watchdog()
        now = self._watchdog.now()
        self._total_end = now + timeouts.total_s
        self._first_end = min(now + timeouts.first_token_s, self._total_end)
        self._watchdog.deadline = self._first_end
        self._progress: tuple[object, ...] = ()
        self._reading = Reading()
        self._key: Key | None = None
        self.answerer = NOBODY

    @property
    def provider_name(self) -> str:
        """The name of the provider that is asked."""
        return self._provider.name

    @property
    def has_text(self) -> bool:
        """Whether any visible text has been yielded."""
        return self._reading.deltas > 0

    def close(self) -> None:
        """Drop the timer."""
        self._watchdog.close()

    def take_usage(self) -> Usage | None:
        """Return what the current attempt is billed for, only once; None if unknown."""
        reading = self._reading
        if reading.model or reading.fingerprint:
            self.answerer = answerer_of(reading, self._key)
        usage = usage_so_far(reading, self._chat)
        self._reading = Reading(deltas=reading.deltas)
        return usage

    async def wait(self, delay: float, error: ProviderError) -> None:
        """Wait before the next attempt.

        Raises:
            ProviderError: `error`, if the first-token limit leaves no time.
        """
        self._watchdog.deadline = self._first_end
        if self._watchdog.now() + delay >= self._first_end:
            raise error
        await asyncio.sleep(delay)

    async def attempt(
        self, key: Key | None, number: int
    ) -> AsyncGenerator[Batch, None]:
        """Yield the text of one attempt, then its end; attempts are numbered from 1.

        A batch holds the text of one read, all of it noted in the `Reading` by then.

        Raises:
            ProviderError: the attempt failed.
        """
        has_tools = bool(self._chat.options.tools)
        self._reading = reading = Reading(has_tools=has_tools)
        self._key, self.answerer = key, NOBODY
        self._progress = reading.progress
        response, handed_over = await self._send(key), False
        try:
            if response.status != 200:
                raise await self._failure(response)
            content_type = response.headers.get("content-type", "")
            decoder = Decoder(self._adapter, reading, content_type)
            chunk: bytes | _End = b""
            while not reading.ended and not isinstance(chunk, _End):
                chunk = await self._next(response)
                texts, error = _decode(decoder, chunk)
                if texts:
                    yield texts
                if error is not None:
                    raise error
                self._note_progress()
            if reading.ended:
                self._drain(response)
                handed_over = True
        finally:
            if not handed_over:
                await response.aclose()
        end = conclude(reading, self._chat, number)
        self.take_usage()  # so that it is not taken again: `end` holds it
        yield without_echo(end, key)

    async def _send(self, key: Key | None) -> Response:
        request = self._request(key)
        try:
            with self._watchdog:
                return await self._transport.send(request)
        except DeadlinePassedError as exc:
            raise ProviderTimeoutError("a time limit was reached") from exc
        except ConnectTimeoutError as exc:
            raise ProviderTimeoutError(str(exc), retryable=True) from exc
        except AddressError as exc:
            raise ProviderUnavailableError(str(exc), retryable=False) from exc
        except UnreachableError as exc:
            raise ProviderUnavailableError(str(exc)) from exc
        except TransportError as exc:
            raise ConnectionDroppedError(str(exc)) from exc

    def _request(self, key: Key | None) -> Request:
        provider, chat = self._provider, self._chat
        if provider.models and chat.model not in provider.models:
            raise ModelNotFoundError("not a model of this server")
        request = self._adapter.build_request(provider, _checked(key), chat)
        try:
            body = encode_json(request.body)
        except ValueError as exc:
            raise too_deep() from exc
        headers = {**_HEADERS, **request.headers}
        return Request(
            request.url,
            headers,
            body,
            self._timeouts.connect_s,
            on_sending=self._on_sending,
        )

    async def _next(self, response: Response) -> bytes | _End:
        """Return the next piece of the body, or what ended it."""
        try:
            with self._watchdog:
                return await response.body.__anext__()
        except StopAsyncIteration:
            return _End.BODY
        except (DeadlinePassedError, TransportError) as exc:
            if self._has_stopped(exc):
                return _End.SILENCE
            if isinstance(exc, DeadlinePassedError):
                raise ProviderTimeoutError("a time limit was reached") from exc
            raise ProviderError(str(exc), retryable=True) from exc

    def _has_stopped(self, exc: Exception) -> bool:
        """Whether the answer is complete although its body has not ended.

        If text may follow a finish reason, the reason alone does not prove it. But a
        server that has sent one, and then neither ends its body nor sends anything else
        within the limit, never will. A lost connection proves no such thing.
        """
        reading = self._reading
        if reading.is_early or not reading.is_complete:
            return False
        return reading.nothing_follows or isinstance(exc, DeadlinePassedError)

    async def _failure(self, response: Response) -> ProviderError:
        watchdog = self._watchdog
        end = watchdog.now() + _ERROR_BODY_S
        watchdog.deadline = min(watchdog.deadline, end)
        body = bytearray()
        try:
            while len(body) < _MAX_ERROR_BYTES:
                with watchdog:
                    body += await anext(response.body)
        except (StopAsyncIteration, DeadlinePassedError, TransportError):
            pass  # the status says enough
        with suppress(ValueError):
            counted = as_dict(decode_json(bytes(body)))
            self._adapter.note_usage(counted, self._reading)
        return error_from_response(response.status, response.headers, bytes(body))

    def _note_progress(self) -> None:
        """Extend the deadline if text or thoughts arrived; pings are not progress.

        This is called when the consumer wants more, so its own slowness is not counted.
        """
        reading = self._reading
        if reading.progress == self._progress:
            return
        self._progress = reading.progress
        now = self._watchdog.now()
        end = now + self._timeouts.idle_s
        if reading.nothing_follows and not reading.is_early:
            end = now + min(_GRACE_S, self._timeouts.idle_s)
        elif not reading.deltas:
            end = max(end, self._first_end)
        self._watchdog.deadline = min(end, self._total_end)


class _End(Enum):
    """What ended a body: its own end, or silence after the finish reason."""

    BODY = "body"
    SILENCE = "silence"


def _decode(
    decoder: Decoder, chunk: bytes | _End
) -> tuple[list[str], Exception | None]:
    """Return the text in a piece of the body, and the error that follows the text."""
    texts: list[str] = []
    try:
        if chunk is _End.BODY:
            decoder.receive_end(texts)
        elif chunk is _End.SILENCE:
            decoder.finish(texts)
        else:
            decoder.receive(chunk, texts)
    except Exception as error:  # whatever it is, the text before it counts
        return texts, error
    return texts, None


def _checked(key: Key | None) -> Key | None:
    if key is None:
        return None
    value = key.value.strip()
    if not value or not value.isascii() or not value.isprintable():
        raise ProviderAuthError("the key has characters that a header cannot have")
    return Key(key.ident, value)
