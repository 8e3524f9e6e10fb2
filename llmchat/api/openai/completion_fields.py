"""What a request for a chat completion may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmchat.api.openai.errors import wrong
from llmchat.api.openai.fields import (
    MAX_TOKENS,
    SAMPLING,
    SWITCHES,
    Neutral,
    checked,
    is_empty,
    is_one_of,
    model_name,
    object_from,
    refuse,
)
from llmchat.api.openai.messages import messages_from
from llmchat.api.openai.options import options_from
from llmchat.api.validation import Fields
from llmchat.providers.types import ChatMessage, Options

_FIELDS: Fields = {
    **SAMPLING,
    **SWITCHES,
    "max_completion_tokens": MAX_TOKENS,
    "max_tokens": MAX_TOKENS,
}
_NEUTRAL: Neutral = {
    "n": is_one_of(1),
    "logprobs": is_one_of(False),
    "top_logprobs": is_one_of(0),
    "top_p": is_one_of(1),
    "frequency_penalty": is_one_of(0),
    "presence_penalty": is_one_of(0),
    "logit_bias": is_empty,
    "modalities": is_one_of(["text"]),
    "audio": is_one_of(),
    "functions": is_empty,
    "function_call": is_one_of("none"),
    "web_search_options": is_one_of(),
}
_HINTS = {
    "n": ": each request gets one answer",
    "top_p": ": use temperature",
    "modalities": ": answers are always text",
    "audio": ": answers are always text",
    "functions": ": use tools",
    "function_call": ": use tool_choice",
}


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A request for a chat completion; `tells_usage` applies to streams only."""

    model: str
    messages: tuple[ChatMessage, ...]
    options: Options
    temperature: float | None
    max_tokens: int | None
    is_streamed: bool
    tells_usage: bool


def completion_request(body: Any) -> CompletionRequest:
    """Return the request in a body. Raises: ChatError `bad_request`."""
    data = object_from(body)
    refuse(_NEUTRAL, data, _HINTS)
    found = checked(_FIELDS, data)
    return CompletionRequest(
        model=model_name(data),
        messages=messages_from(data.get("messages")),
        options=options_from(data),
        temperature=found.get("temperature"),
        max_tokens=found.get("max_completion_tokens") or found.get("max_tokens"),
        is_streamed=found.get("stream", False),
        tells_usage=_tells_usage(data.get("stream_options", {})),
    )


def _tells_usage(options: Any) -> bool:
    if not isinstance(options, dict):
        raise wrong("stream_options", "must be an object")
    tells = options.get("include_usage")
    if not isinstance(tells, bool | None):
        raise wrong("stream_options.include_usage", "must be true or false")
    return bool(tells)
