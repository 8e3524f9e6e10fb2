"""What clients may send, validated once for Socket.IO and REST alike.

Types are strict: nothing is converted to a string or a number. Unknown fields are
ignored, and optional fields other than `stream` may be null.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

from llmchat.books.turn import Turn
from llmchat.errors import refusal
from llmchat.providers.types import ChatMessage, Role

MAX_MESSAGES = 1000
MAX_OUTPUT_TOKENS = 1_000_000
MAX_TEMPERATURE = 2
NAME_LENGTH = 128
PROVIDER_NAME_LENGTH = 64
ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
}
# Half of a surrogate pair cannot be encoded, and PostgreSQL stores no NUL.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")

# Takes the value of a field, and returns what is made of it. Raises: Unfit.
Check: TypeAlias = Callable[[Any], Any]


class Unfit(Exception):  # noqa: N818  # what the value is
    """A value is not what its field takes; its text continues the field's name."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an object: what it may hold, whether it may be missing or null."""

    check: Check
    is_required: bool = False
    may_be_null: bool = True


Fields: TypeAlias = dict[str, Field]


def _required(check: Check) -> Field:
    return Field(check, is_required=True, may_be_null=False)


def _name(data: Any) -> str:
    """Take a short string unchanged, because it is compared with others."""
    if not isinstance(data, str) or not 1 <= len(data) <= NAME_LENGTH:
        raise Unfit(f" must be a string of 1 to {NAME_LENGTH} characters")
    if UNSTORABLE.search(data):
        raise Unfit(" contains a character that is not allowed")
    return data


def _provider(data: Any) -> str:
    """Take any string; return "", which names no provider, if it cannot be a name."""
    if not isinstance(data, str):
        raise Unfit(" must be a string")
    is_name = len(data) <= PROVIDER_NAME_LENGTH and not UNSTORABLE.search(data)
    return data if is_name else ""


def _temperature(data: Any) -> float:
    is_number = isinstance(data, int | float) and not isinstance(data, bool)
    if not is_number or not 0 <= data <= MAX_TEMPERATURE:
        raise Unfit(f" must be a number from 0 to {MAX_TEMPERATURE}")
    return float(data)


def _max_tokens(data: Any) -> int:
    is_whole = isinstance(data, int) and not isinstance(data, bool)
    if not is_whole or not 1 <= data <= MAX_OUTPUT_TOKENS:
        raise Unfit(f" must be a whole number from 1 to {MAX_OUTPUT_TOKENS}")
    return int(data)


def _id(of: str, data: Any) -> UUID:
    """Take a UUID as the server returned it."""
    try:
        return UUID(data)
    except (TypeError, ValueError, AttributeError) as exc:
        raise Unfit(f" must be the id of {of}") from exc


def _switch(data: Any) -> bool:
    """Take a boolean, but no string or number in its place."""
    if not isinstance(data, bool):
        raise Unfit(" must be true or false")
    return data


def _messages(data: Any) -> tuple[ChatMessage, ...]:
    """Take a history whose last message is the user's, and leave out empty answers.

    An answer that was cancelled before its first word does not count in the stored
    history either, so the conversation is found by the history without it.
    """
    if not isinstance(data, list) or not data:
        raise Unfit(" must be a list with at least one message")
    if len(data) > MAX_MESSAGES:
        raise Unfit(f" must have no more than {MAX_MESSAGES} messages")
    parsed = [_message(item, index) for index, item in enumerate(data)]
    messages = tuple(message for message in parsed if message.content)
    if not messages or messages[-1].role != "user":
        raise Unfit(" must end with a message from user")
    return messages


def _message(item: Any, index: int) -> ChatMessage:
    if not isinstance(item, dict):
        raise Unfit(f"[{index}] must be an object")
    role, content = item.get("role"), item.get("content")
    if not isinstance(role, str) or role not in ROLES:
        raise Unfit(f"[{index}].role must be system, user or assistant")
    if not isinstance(content, str) or not (content or role == "assistant"):
        raise Unfit(f"[{index}].content must be a non-empty string")
    return ChatMessage(ROLES[role], UNSTORABLE.sub("\ufffd", content))


# The fields of `llm:chat:stream`.
TURN_FIELDS: Fields = {
    "sessionId": _required(_name),
    "provider": _required(_provider),
    "messages": _required(_messages),
    "model": Field(_name),
    "temperature": Field(_temperature),
    "maxTokens": Field(_max_tokens),
    # What the providers' own APIs call it.
    "max_tokens": Field(_max_tokens),
    "conversationId": Field(partial(_id, "a conversation")),
    "replaces": Field(partial(_id, "a question")),
}
# The body of `POST /llm/chat`, which needs no session id.
CHAT_FIELDS: Fields = TURN_FIELDS | {
    "sessionId": Field(_name),
    "stream": Field(_switch, may_be_null=False),
}
# The fields of `llm:stream:cancel`.
CANCEL_FIELDS: Fields = {"sessionId": _required(_name)}
# The fields of `llm:stream:attach`: at least one must name the answer.
ATTACH_FIELDS: Fields = {
    "messageId": Field(partial(_id, "an answer")),
    "sessionId": Field(_name),
    "conversationId": Field(partial(_id, "a conversation")),
}


def validated(fields: Fields, data: Any) -> dict[str, Any]:
    """Return the fields that `data` holds.

    Raises: ChatError `bad_request`, with a text that names the first wrong field.
    """
    if not isinstance(data, dict):
        raise refusal("bad_request", text="The request must be an object")
    found = {}
    for name, field in fields.items():
        if name in data:
            found[name] = _checked(name, field, data[name])
        elif field.is_required:
            raise refusal("bad_request", text=f"{name} is missing")
    return found


def _checked(name: str, field: Field, value: Any) -> Any:
    if value is None:
        if field.may_be_null:
            return None
        raise refusal("bad_request", text=f"{name} must not be null")
    try:
        return field.check(value)
    except Unfit as exc:
        raise refusal("bad_request", text=f"{name}{exc}") from exc


def turn_from(fields: dict[str, Any], *, session_id: str | None = None) -> Turn:
    """Return the turn of validated fields; `session_id` is used if they have none.

    Raises: ChatError `bad_request`, if `replaces` is there without `conversationId`.
    """
    if fields.get("replaces") and not fields.get("conversationId"):
        raise refusal("bad_request", text="replaces requires conversationId")
    return Turn(
        session_id=fields.get("sessionId") or session_id or "",
        provider=fields["provider"],
        messages=fields["messages"],
        model=fields.get("model"),
        temperature=fields.get("temperature"),
        max_tokens=fields.get("maxTokens") or fields.get("max_tokens"),
        conversation_id=fields.get("conversationId"),
        replaces=fields.get("replaces"),
    )


def readable_session_id(data: Any) -> str | None:
    """Return the session id of an unchecked payload, None if it has no valid one."""
    session_id = data.get("sessionId") if isinstance(data, dict) else None
    try:
        return _name(session_id)
    except Unfit:
        return None
