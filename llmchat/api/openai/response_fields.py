"""What a request for a response may hold: text in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmchat.api.openai.content import storable
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
from llmchat.api.openai.messages import message_of
from llmchat.api.openai.options import response_format
from llmchat.api.validation import Fields
from llmchat.providers.types import ChatMessage

_FIELDS: Fields = {**SAMPLING, **SWITCHES, "max_output_tokens": MAX_TOKENS}
_NEUTRAL: Neutral = {
    "tools": is_empty,
    "tool_choice": is_one_of("auto", "none"),
    "top_p": is_one_of(1),
    "top_logprobs": is_one_of(0),
    "background": is_one_of(False),
    "conversation": is_one_of(),
    "prompt": is_one_of(),
}
_HINTS = {
    "tools": ": use POST /v1/chat/completions for tools",
    "tool_choice": ": use POST /v1/chat/completions for tools",
    "top_p": ": use temperature",
    "conversation": ": use previous_response_id",
    "prompt": ": use instructions",
}


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """A request for a response; `instructions` are "" and `previous` None if not given.

    `format` is written as in a request for a chat completion.
    """

    model: str
    input: tuple[ChatMessage, ...]
    instructions: str
    previous: str | None
    temperature: float | None
    max_tokens: int | None
    format: Mapping[str, object] | None
    is_streamed: bool


def response_request(body: Any) -> ResponseRequest:
    """Return the request in a body. Raises: ChatError `bad_request`."""
    data = object_from(body)
    refuse(_NEUTRAL, data, _HINTS)
    found = checked(_FIELDS, data)
    return ResponseRequest(
        model=model_name(data),
        input=_input(data.get("input")),
        instructions=_text(data, "instructions") or "",
        previous=_text(data, "previous_response_id"),
        temperature=found.get("temperature"),
        max_tokens=found.get("max_output_tokens"),
        format=_format(data.get("text", {})),
        is_streamed=found.get("stream", False),
    )


def _input(data: Any) -> tuple[ChatMessage, ...]:
    if isinstance(data, str):
        return (message_of("user", data, "input"),)
    if not isinstance(data, list):
        raise wrong("input", "must be a string or a list of messages")
    return tuple(_item(item, f"input[{at}]") for at, item in enumerate(data))


def _item(item: Any, param: str) -> ChatMessage:
    kind = item.get("type", "message") if isinstance(item, Mapping) else 0
    if kind not in ("message", None):
        raise wrong(f"{param}.type", "must be message; no other type is supported")
    if item.get("role") == "tool":
        raise wrong(f"{param}.role", "must be user, assistant, system or developer")
    return message_of(item.get("role"), item.get("content"), param)


def _text(data: dict[str, Any], name: str) -> str | None:
    value = data.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong(name, "must be a string")
    return None if value is None else storable(value)


def _format(text: Any) -> Mapping[str, object] | None:
    """Return the format of the text, as a request for a chat completion writes it."""
    if not isinstance(text, Mapping):
        raise wrong("text", "must be an object")
    given = text.get("format")
    if isinstance(given, Mapping) and given.get("type") == "json_schema":
        names = ("name", "description", "schema", "strict")
        schema = {name: given[name] for name in names if given.get(name) is not None}
        given = {"type": "json_schema", "json_schema": schema}
    return response_format(given, "text.format")
