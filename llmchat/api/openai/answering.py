"""An answer in the format of OpenAI's APIs: streamed, whole, or broken off."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol, TypeVar

from django.http import JsonResponse

from llmchat.answers.events import Cancelled, Done, End, Failed, Started
from llmchat.answers.follower import Follower
from llmchat.api.async_view import EventStream, begun_stream, quiet
from llmchat.api.decimals import plain
from llmchat.api.openai.broken import Usage, broken_object
from llmchat.api.openai.errors import error_of, headers_of
from llmchat.api.openai.usage import is_billed

Response = TypeVar("Response", EventStream, JsonResponse)


class Wire(Protocol):
    """One answer as server-sent events: each method returns the events of one step."""

    def start(self) -> bytes:
        """Return what comes before the first piece of text."""

    def more(self, texts: Sequence[str]) -> bytes:
        """Return what carries new pieces of text."""

    def end(self, end: End) -> bytes:
        """Return what says how the answer has ended."""


async def streamed(follower: Follower, started: Started, wire: Wire) -> EventStream:
    """Return an answer as server-sent events."""
    stream = await begun_stream(_events(follower, wire))
    return _placed(stream, started)


def whole(started: Started, done: Done, fields: Mapping[str, object]) -> JsonResponse:
    """Return the response for an answer that is whole."""
    return _priced(_placed(JsonResponse(fields), started), done)


def broken(started: Started, end: Failed | Cancelled, usage: Usage) -> JsonResponse:
    """Return the response for an answer that is not whole, with the text there is."""
    error, fields = error_of(end), broken_object(end, usage, is_sent=False)
    headers = headers_of(error, partial=end.partial)
    response = JsonResponse(fields, status=error.status, headers=headers)
    return _priced(_placed(quiet(response, error), started), end)


def _placed(response: Response, started: Started) -> Response:
    response["x-llmchat-conversation-id"] = str(started.conversation_id)
    return response


def _priced(response: JsonResponse, end: End) -> JsonResponse:
    if end.cost is not None and is_billed(end):
        response["x-llmchat-cost"] = plain(end.cost)
    return response


async def _events(follower: Follower, wire: Wire) -> AsyncGenerator[bytes, None]:
    try:
        yield b""
        yield wire.start()
        while texts := await follower.read():
            yield wire.more(texts)
        yield wire.end(await follower.ended())
    finally:
        await follower.leave()
