"""The messages of a request, in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmchat.api.openai.content import content_from, storable
from llmchat.api.openai.errors import wrong
from llmchat.api.validation import MAX_MESSAGES
from llmchat.providers.types import ChatMessage, Role, ToolCall

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_ENDS = ("user", "tool")


def messages_from(data: Any) -> tuple[ChatMessage, ...]:
    """Return a history that can be answered, with empty answers left out.

    Raises: ParameterError.
    """
    if not isinstance(data, list):
        raise wrong("messages", "must be a list of messages")
    parsed = [_message(item, f"messages[{at}]") for at, item in enumerate(data)]
    return answerable(parsed, "messages")


def answerable(messages: list[ChatMessage], param: str) -> tuple[ChatMessage, ...]:
    """Check a history; return it without empty answers. Raises: ParameterError."""
    if len(messages) > MAX_MESSAGES:
        raise wrong(param, f"must have no more than {MAX_MESSAGES} messages")
    nonempty = tuple(message for message in messages if not _is_silent(message))
    if not any(message.role == "user" for message in nonempty):
        raise wrong(param, "must include a message from user")
    if nonempty[-1].role not in _ENDS:
        raise wrong(param, "must end with a message from user or from tool")
    return nonempty


def message_of(role: Any, content: Any, param: str) -> ChatMessage:
    """Return a message, without the fields about tool calls.

    Raises: ParameterError.
    """
    if not isinstance(role, str) or role not in _ROLES:
        raise wrong(f"{param}.role", f"must be one of {', '.join(_ROLES)}")
    text, images = content_from(content, f"{param}.content")
    if images and role != "user":
        raise wrong(
            f"{param}.content", "can include images only in a message from user"
        )
    if not text and not images and role not in ("assistant", "tool"):
        raise wrong(f"{param}.content", "must not be empty")
    return ChatMessage(_ROLES[role], text, images=images)


def _message(item: Any, param: str) -> ChatMessage:
    if not isinstance(item, Mapping):
        raise wrong(param, "must be an object")
    plain = message_of(item.get("role"), item.get("content"), param)
    if plain.role == "tool":
        called = _string(item, "tool_call_id", param)
        return ChatMessage("tool", plain.content, tool_call_id=called)
    if plain.role != "assistant" or item.get("tool_calls") is None:
        return plain
    calls = _tool_calls(item["tool_calls"], f"{param}.tool_calls")
    return ChatMessage("assistant", plain.content, tool_calls=calls)


def _tool_calls(data: Any, param: str) -> tuple[ToolCall, ...]:
    if not isinstance(data, list):
        raise wrong(param, "must be a list of tool calls")
    return tuple(_tool_call(call, f"{param}[{at}]") for at, call in enumerate(data))


def _tool_call(call: Any, param: str) -> ToolCall:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        raise wrong(param, "must be a function call")
    return ToolCall(
        id=_string(call, "id", param),
        name=_string(function, "name", f"{param}.function"),
        arguments=_string(
            function, "arguments", f"{param}.function", may_be_empty=True
        ),
    )


def _string(
    item: Mapping[str, Any], name: str, param: str, *, may_be_empty: bool = False
) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not (value or may_be_empty):
        raise wrong(f"{param}.{name}", "must be a non-empty string")
    return storable(value)


def _is_silent(message: ChatMessage) -> bool:
    """Return whether it is empty: an answer cancelled before its first word."""
    said = message.content or message.images or message.tool_calls
    return not said and message.role == "assistant"
