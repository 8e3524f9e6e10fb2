"""The request for Anthropic's Messages API.

The results of tools are blocks of the user's message directly after the calls, all of
them in one message, before any text that follows. A conversation in which tools were
called must declare them, even if no more calls are to be made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from .history import History, build_history
from .options import (
    Choice,
    Function,
    arguments_of,
    choice,
    functions,
    kind_of_format,
    not_taken,
    schema_of,
)
from .request import ProviderRequest, endpoint, max_tokens, temperature
from .types import Chat, ChatMessage, Image, Key, Options, Provider

API_VERSION = "2023-06-01"
DEFAULT_MAX_TOKENS = 8192  # the field is required, whatever the client says

Block = dict[str, object]
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_MODES = {"auto": "auto", "none": "none", "required": "any"}


def build_request(provider: Provider, key: Key | None, chat: Chat) -> ProviderRequest:
    """Return the request for a streamed answer.

    Raises:
        ProviderError: the chat or the provider's address cannot be sent.
    """
    check(provider, chat)
    history = build_history(chat)
    body: dict[str, object] = {
        "model": chat.model,
        "max_tokens": max_tokens(provider, chat, DEFAULT_MAX_TOKENS),
        "messages": list(_messages(history)),
        "stream": True,
    }
    if history.system:
        body["system"] = history.system
    if (degree := temperature(provider, chat)) is not None:
        body["temperature"] = min(degree, 1.0)
    body |= dict(_options(chat.options, history))
    headers = {"anthropic-version": API_VERSION}
    if key:
        headers["x-api-key"] = key.value
    url = endpoint(provider.base_url, "/messages", versions=("v1",))
    return ProviderRequest(url, headers, body)


def check(provider: Provider, chat: Chat) -> None:
    """Refuse what Claude cannot take.

    Raises:
        BadRequestError: the chat has any of that.
    """
    options = chat.options
    if options.seed is not None:
        raise not_taken(provider, "does not support seed")
    if not all(text.strip() for text in options.stop):
        raise not_taken(provider, "does not support blank stop sequences")
    kind = kind_of_format(options)
    if kind == "json_schema":
        schema_of(options)
    elif kind != "text":
        raise not_taken(
            provider, "supports only text and json_schema as response_format"
        )
    functions(options)
    choice(options)


def _options(options: Options, history: History) -> Iterator[tuple[str, object]]:
    if options.stop:
        yield "stop_sequences", list(options.stop)
    if kind_of_format(options) == "json_schema":
        format_ = {"type": "json_schema", "schema": schema_of(options)}
        yield "output_config", {"format": format_}
    if options.tools:
        yield "tools", [_tool(function) for function in functions(options)]
        if chosen := choice(options):
            yield "tool_choice", _choice(chosen)
    elif history.tools:
        schema = {"type": "object"}
        yield "tools", [{"name": n, "input_schema": schema} for n in history.tools]
        yield "tool_choice", {"type": "none"}


def _tool(function: Function) -> Block:
    tool: Block = {"name": function.name, "input_schema": function.parameters}
    if function.description:
        tool["description"] = function.description
    if function.strict:
        tool["strict"] = True
    return tool


def _choice(chosen: Choice) -> Block:
    if chosen.name:
        return {"type": "tool", "name": chosen.name}
    return {"type": _MODES[chosen.mode]}


def _messages(history: History) -> Iterator[Block]:
    """Yield the messages; results of tools and the user's text after them are one."""
    for role, turns in groupby(history.turns, key=_role):
        blocks = [block for turn in turns for block in _blocks(turn)]
        (first, *others) = blocks
        if not others and first["type"] == "text":
            yield {"role": role, "content": first["text"]}
        else:
            yield {"role": role, "content": blocks}


def _role(turn: ChatMessage) -> str:
    return "assistant" if turn.role == "assistant" else "user"


def _blocks(turn: ChatMessage) -> Iterator[Block]:
    if turn.role == "tool":
        yield _result(turn)
        return
    for image in turn.images:
        yield {"type": "image", "source": _source(image)}
    if turn.content.strip():
        yield {"type": "text", "text": turn.content}
    for call in turn.tool_calls:
        yield {
            "type": "tool_use",
            "id": _ident(call.id),
            "name": call.name,
            "input": arguments_of(call),
        }


def _result(turn: ChatMessage) -> Block:
    result: Block = {"type": "tool_result", "tool_use_id": _ident(turn.tool_call_id)}
    return result | ({"content": turn.content} if turn.content.strip() else {})


def _source(image: Image) -> dict[str, str]:
    if image.url:
        return {"type": "url", "url": image.url}
    return {"type": "base64", "media_type": image.media_type, "data": image.data}


def _ident(ident: str) -> str:
    """Return the id of a call as Claude takes it; it may come from another provider."""
    return _NOT_IN_IDS.sub("_", ident)
