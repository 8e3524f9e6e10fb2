"""The body of a Chat Completions request, for OpenAI and its relatives."""

from __future__ import annotations

from collections.abc import Iterator

from .history import History, build_history
from .options import not_taken, refuse_images
from .request import max_tokens, temperature
from .types import Chat, ChatMessage, Image, Options, Provider, ToolCall


def check(provider: Provider, chat: Chat) -> None:
    """Refuse what the provider cannot take.

    Raises:
        BadRequestError: the chat has any of that.
    """
    if not provider.takes_images:
        refuse_images(provider, chat)
    if chat.options.tools and not provider.takes_tools:
        raise not_taken(provider, "does not support tools")


def build_body(provider: Provider, chat: Chat) -> dict[str, object]:
    """Return the body that OpenAI's format and its relatives share.

    Raises:
        BadRequestError: the provider cannot take the chat.
    """
    check(provider, chat)
    body: dict[str, object] = {
        "model": chat.model,
        "messages": list(_messages(provider, build_history(chat))),
        "stream": True,
    }
    if provider.include_usage:
        body["stream_options"] = {"include_usage": True}
    if (limit := max_tokens(provider, chat)) is not None:
        body[provider.max_tokens_field] = limit
    if (degree := temperature(provider, chat)) is not None:
        body["temperature"] = degree
    return body | dict(_options(chat.options))


def _options(options: Options) -> Iterator[tuple[str, object]]:
    if options.stop:
        yield "stop", list(options.stop)
    if options.seed is not None:
        yield "seed", options.seed
    if options.response_format is not None:
        yield "response_format", options.response_format
    if options.tools:
        yield "tools", list(options.tools)
        if options.tool_choice is not None:
            yield "tool_choice", options.tool_choice


def _messages(provider: Provider, history: History) -> Iterator[dict[str, object]]:
    if history.system:
        yield {"role": provider.system_role, "content": history.system}
    yield from map(_message, history.turns)


def _message(turn: ChatMessage) -> dict[str, object]:
    if turn.role == "tool":
        ident = turn.tool_call_id
        return {"role": "tool", "tool_call_id": ident, "content": turn.content}
    if turn.images:
        return {"role": turn.role, "content": list(_parts(turn))}
    if turn.tool_calls:
        calls = [_call(call) for call in turn.tool_calls]
        content = turn.content or None
        return {"role": turn.role, "content": content, "tool_calls": calls}
    return {"role": turn.role, "content": turn.content}


def _parts(turn: ChatMessage) -> Iterator[dict[str, object]]:
    if turn.content.strip():
        yield {"type": "text", "text": turn.content}
    for image in turn.images:
        yield {"type": "image_url", "image_url": _image(image)}


def _image(image: Image) -> dict[str, str]:
    url = image.url or f"data:{image.media_type};base64,{image.data}"
    return {"url": url, "detail": image.detail} if image.detail else {"url": url}


def _call(call: ToolCall) -> dict[str, object]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}
