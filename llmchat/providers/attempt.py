"""One request to a provider and its response, as deltas and their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

import aiohttp
import httpx
import orjson

from .answer import Answer, conclude
from .body import MAX_ERROR_BYTES, MAX_WHOLE_BYTES, BodyKind, kind_of, parse_json
from .classify import error_from_response, error_in, is_error
from .errors import (
    ProviderAuthError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from .registry import ADAPTERS
from .retry import ConnectionDroppedError
from .sse import SSEReader
from .text import SurrogateJoiner, decode_json, without_key
from .types import Chat, Delta, Event, Finished, Key, Provider, Timeouts
from .watchdog import DeadlinePassedError, Watchdog

Body = AsyncGenerator[bytes, None]
Drain = Callable[[httpx.Response, Body], None]

_GRACE_S = 5.0  # for usage and terminator, once the finish reason was seen
_ERROR_BODY_S = 5.0
_MAX_ANSWER_CHARS = 4_000_000
NETWORK_ERRORS = (
    httpx.HTTPError,
    httpx.StreamError,
    aiohttp.ClientError,
    OSError,
    RuntimeError,  # both libraries' word for a client that was closed meanwhile
)


class ChatStream:
    """One answer over all its attempts: what they share is the clock.

    `deltas` counts the visible pieces of text yielded so far; once there is one, no
    other attempt may be made. `drain` takes over a response whose answer is whole.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        provider: Provider,
        chat: Chat,
        timeouts: Timeouts,
        drain: Drain,
    ) -> None:
        self._http = http
        self._provider = provider
        self._chat = chat
        self._timeouts = timeouts
        self._drain = drain
        self._adapter = ADAPTERS[provider.protocol]
        self._watchdog = Watchdog()
        now = self._watchdog.now()
        self._total_end = now + timeouts.total_s
        self._first_end = min(now + timeouts.first_token_s, self._total_end)
        self._watchdog.deadline = self._first_end
        self._marks = 0
        self._chars = 0
        self.deltas = 0

    def close(self) -> None:
        """Drop the timer."""
        self._watchdog.close()

    async def wait(self, delay: float, error: ProviderError) -> None:
        """Wait before the next attempt.

        Raises:
            ProviderError: `error`, where the first-token limit leaves no time.
        """
        self._watchdog.deadline = self._first_end
        self._marks = 0
        if self._watchdog.now() + delay >= self._first_end:
            raise error
        await asyncio.sleep(delay)

    async def attempt(
        self, key: Key | None, number: int
    ) -> AsyncGenerator[Event, None]:
        """Yield the deltas of one attempt and the end, `number` being which it is.

        Raises:
            ProviderError: the attempt failed.
        """
        answer = Answer()
        response: httpx.Response | None = None
        try:
            with self._watchdog:
                response = await self._http.send(self._request(key), stream=True)
            if response.status_code != 200:
                raise await self._failure(response)
            body = _body_of(response)
            async with aclosing(self._read(response, body, answer)) as deltas:
                async for delta in deltas:
                    yield delta
            if answer.ended:
                self._drain(response, body)
                response = None
        except (DeadlinePassedError, *NETWORK_ERRORS) as exc:
            # The end of the body adds nothing once the provider has said that the
            # answer is whole, unless more text may follow that.
            if not (answer.is_complete and self._adapter.finish_is_last):
                raise _translate(exc, begun=response is not None) from exc
        finally:
            if response is not None:
                await response.aclose()
        yield _told(conclude(answer, self._chat, self.deltas, number), key)

    def _request(self, key: Key | None) -> httpx.Request:
        request = self._adapter.build_request(self._provider, _checked(key), self._chat)
        try:
            return self._http.build_request(
                "POST",
                request.url,
                headers=request.headers,
                content=orjson.dumps(request.body),
                timeout=httpx.Timeout(None, connect=self._timeouts.connect_s),
            )
        except httpx.InvalidURL as exc:
            raise ProviderUnavailableError("URL unreadable", retryable=False) from exc

    async def _failure(self, response: httpx.Response) -> ProviderError:
        watchdog = self._watchdog
        end = watchdog.now() + _ERROR_BODY_S
        watchdog.deadline = min(watchdog.deadline, end)
        body = bytearray()
        try:
            async with aclosing(_body_of(response)) as chunks:
                while len(body) < MAX_ERROR_BYTES:
                    with watchdog:
                        body += await anext(chunks)
        except (StopAsyncIteration, DeadlinePassedError, *NETWORK_ERRORS):
            pass  # the status says enough
        return error_from_response(response.status_code, response.headers, bytes(body))

    async def _read(
        self, response: httpx.Response, body: Body, answer: Answer
    ) -> AsyncGenerator[Delta, None]:
        content_type = response.headers.get("content-type", "")
        head = b""
        while (kind := kind_of(content_type, head)) is BodyKind.UNKNOWN:
            with self._watchdog:
                chunk = await anext(body, None)
            if chunk is None or len(head) > MAX_ERROR_BYTES:
                raise ProviderError("empty body", retryable=True)
            head += chunk
        if kind is BodyKind.FOREIGN:
            raise ProviderError("body is no stream of events")
        if kind is BodyKind.JSON:
            decoded = await self._read_json(head, body)
            if text := self._adapter.parse_whole(decoded, answer):
                yield self._delta(text)
            return
        async with aclosing(self._read_events(head, body, answer)) as texts:
            async for delta in texts:
                yield delta

    async def _read_json(self, head: bytes, body: Body) -> object:
        whole = bytearray(head)
        while True:
            with self._watchdog:
                chunk = await anext(body, None)
            if chunk is None:
                return parse_json(bytes(whole))
            whole += chunk
            if len(whole) > MAX_WHOLE_BYTES:
                raise ProviderError("body larger than the limit")

    async def _read_events(
        self, head: bytes, body: Body, answer: Answer
    ) -> AsyncGenerator[Delta, None]:
        parse = self._adapter.parse
        reader = SSEReader()
        joiner = SurrogateJoiner()
        watchdog = self._watchdog
        chunk: bytes | None = head
        while True:
            if chunk is None:
                events = reader.receive_end()
            else:
                events = reader.receive_bytes(chunk)
            for name, data in events:
                text = parse(name, data, answer)
                if text and (text := joiner.join(text)):
                    yield self._delta(text)
                if answer.ended:
                    break
            if answer.ended:
                break  # the rest of the body is not waited for
            if chunk is None:
                _raise_stray(reader.stray)
                break
            self._note_progress(answer)
            with watchdog:
                chunk = await anext(body, None)
        if text := joiner.end():
            yield self._delta(text)

    def _delta(self, text: str) -> Delta:
        self.deltas += 1
        self._chars += len(text)
        if self._chars > _MAX_ANSWER_CHARS:
            raise ProviderError("answer larger than the limit")
        return Delta(text)

    def _note_progress(self, answer: Answer) -> None:
        """Move the deadline on where text or thoughts came; pings are no progress.

        Called when the consumer wants more, so its own slowness is not counted.
        """
        marks = self.deltas + answer.thoughts + answer.is_complete
        if marks == self._marks:
            return
        self._marks = marks
        now = self._watchdog.now()
        end = now + self._timeouts.idle_s
        if answer.is_complete and self._adapter.finish_is_last:
            end = now + min(_GRACE_S, self._timeouts.idle_s)
        elif not self.deltas:
            end = max(end, self._first_end)
        self._watchdog.deadline = min(end, self._total_end)


def _body_of(response: httpx.Response) -> Body:
    # Decoding costs something for each piece, and mostly there is nothing to decode.
    if response.headers.get("content-encoding", "identity") == "identity":
        return response.aiter_raw()  # type: ignore[return-value]  # a generator
    return response.aiter_bytes()  # type: ignore[return-value]


def _checked(key: Key | None) -> Key | None:
    if key is None:
        return None
    value = key.value.strip()
    if not value or not value.isascii() or not value.isprintable():
        raise ProviderAuthError("the key holds characters that no header takes")
    return Key(key.ident, value)


def _told(end: Finished, key: Key | None) -> Finished:
    """Return the end without the key, which a provider may repeat anywhere."""
    if key is None:
        return end
    echoed = key.value.strip().lower() in end.model.lower()
    return replace(
        end,
        model="" if echoed else end.model,
        raw_reason=without_key(end.raw_reason, key.value),
    )


def _raise_stray(stray: bytes) -> None:
    if not stray:
        return
    try:
        decoded = decode_json(stray)
    except ValueError:
        return
    if is_error(decoded):
        raise error_in(decoded)


def _translate(exc: Exception, *, begun: bool) -> ProviderError:
    """Return our error for one of the network's, `begun` after the headers.

    The transport folds most of its errors into one class; the cause tells more.
    """
    cause = exc.__cause__ or exc
    name = type(cause).__name__
    if isinstance(exc, DeadlinePassedError):
        return ProviderTimeoutError("a limit ran out")
    if isinstance(cause, TimeoutError):
        return ProviderTimeoutError(name, retryable=True)
    if begun:
        return ProviderError(name, retryable=True)
    if isinstance(cause, (aiohttp.ClientConnectorError, aiohttp.InvalidURL)):
        return ProviderUnavailableError(name)
    return ConnectionDroppedError(name)
