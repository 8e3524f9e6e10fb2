"""What clients may send, validated once for Socket.IO and REST alike.

Types are strict: nothing is converted to a string or a number. Unknown fields are
ignored, and an optional one may be null.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from rest_framework import serializers

from llmchat.books.turn import Turn
from llmchat.errors import refusal
from llmchat.providers.types import ChatMessage, Role

MAX_MESSAGES = 1000
MAX_OUTPUT_TOKENS = 1_000_000
_PROVIDER_NAME_LENGTH = 64
_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
}
# Half of a surrogate pair cannot be encoded, and PostgreSQL stores no NUL.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class NameField(serializers.Field[str, Any, str, Any]):
    """A short string that is compared, so it is taken unchanged or not at all."""

    def __init__(self, *, max_length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_length = max_length

    def to_internal_value(self, data: Any) -> str:
        """Return the string."""
        if not isinstance(data, str) or not 1 <= len(data) <= self.max_length:
            raise _wrong(f"must be a string of 1 to {self.max_length} characters")
        if _UNSTORABLE.search(data):
            raise _wrong("holds a character that is not allowed")
        return data


class ProviderField(serializers.Field[str, Any, str, Any]):
    """Any string: one that cannot be a provider's name names none."""

    def to_internal_value(self, data: Any) -> str:
        """Return the name, "" for what the database cannot hold or look for."""
        if not isinstance(data, str):
            raise _wrong("must be a string")
        is_name = len(data) <= _PROVIDER_NAME_LENGTH and not _UNSTORABLE.search(data)
        return data if is_name else ""


class TemperatureField(serializers.Field[float, Any, float, Any]):
    """A number from 0 to 2."""

    def to_internal_value(self, data: Any) -> float:
        """Return the number."""
        is_number = isinstance(data, int | float) and not isinstance(data, bool)
        if not is_number or not 0 <= data <= 2:
            raise _wrong("must be a number from 0 to 2")
        return float(data)


class MaxTokensField(serializers.Field[int, Any, int, Any]):
    """A whole number of at least 1."""

    def to_internal_value(self, data: Any) -> int:
        """Return the number."""
        if (
            not isinstance(data, int)
            or isinstance(data, bool)
            or not 1 <= data <= MAX_OUTPUT_TOKENS
        ):
            raise _wrong(f"must be a whole number from 1 to {MAX_OUTPUT_TOKENS}")
        return data


class IdField(serializers.Field[UUID, Any, UUID, Any]):
    """A UUID, as the server returned it: of a conversation, unless it says another."""

    def __init__(self, *, of: str = "a conversation", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.of = of

    def to_internal_value(self, data: Any) -> UUID:
        """Return the UUID."""
        try:
            return UUID(data)
        except (TypeError, ValueError, AttributeError) as exc:
            raise _wrong(f"must be the id of {self.of}") from exc


class SwitchField(serializers.Field[bool, Any, bool, Any]):
    """A boolean, and no string or number for one."""

    def to_internal_value(self, data: Any) -> bool:
        """Return the boolean."""
        if not isinstance(data, bool):
            raise _wrong("must be true or false")
        return data


class MessagesField(serializers.Field[tuple[ChatMessage, ...], Any, Any, Any]):
    """A whole history, checked in one go: a serializer per message would be slow."""

    def to_internal_value(self, data: Any) -> tuple[ChatMessage, ...]:
        """Return the messages, the last one from the user, without empty answers.

        An answer that was cancelled before its first word is not stored as text
        either, so the history without it is found again.
        """
        if not isinstance(data, list) or not data:
            raise _wrong("must be a list with at least one message")
        if len(data) > MAX_MESSAGES:
            raise _wrong(f"must hold no more than {MAX_MESSAGES} messages")
        parsed = [_message(item, index) for index, item in enumerate(data)]
        messages = tuple(message for message in parsed if message.content)
        if not messages or messages[-1].role != "user":
            raise _wrong("must end with a message from user")
        return messages


class TurnSerializer(serializers.Serializer[Turn]):
    """The fields of `llm:chat:stream`."""

    sessionId = NameField(max_length=128)  # noqa: N815
    provider = ProviderField()
    messages = MessagesField()
    model = NameField(max_length=128, required=False, allow_null=True)
    temperature = TemperatureField(required=False, allow_null=True)
    maxTokens = MaxTokensField(required=False, allow_null=True)  # noqa: N815
    # The name of the providers' own APIs.
    max_tokens = MaxTokensField(required=False, allow_null=True)
    conversationId = IdField(  # noqa: N815
        required=False, allow_null=True
    )


class ChatRequestSerializer(TurnSerializer):
    """The body of `POST /llm/chat`, which needs no session id."""

    sessionId = NameField(  # noqa: N815
        max_length=128, required=False, allow_null=True
    )
    stream = SwitchField(required=False, default=False)


class CancelSerializer(serializers.Serializer[str]):
    """The fields of `llm:stream:cancel`."""

    sessionId = NameField(max_length=128)  # noqa: N815


class AttachSerializer(serializers.Serializer[Any]):
    """The fields of `llm:stream:attach`: at least one names the answer."""

    messageId = IdField(  # noqa: N815
        of="an answer", required=False, allow_null=True
    )
    sessionId = NameField(  # noqa: N815
        max_length=128, required=False, allow_null=True
    )
    conversationId = IdField(required=False, allow_null=True)  # noqa: N815


def validated(kind: type[serializers.Serializer[Any]], data: Any) -> dict[str, Any]:
    """Return the fields that `data` holds.

    Raises: ChatError `bad_request`, with a text that names the field.
    """
    if not isinstance(data, dict):
        raise refusal("bad_request", text="The request must be an object")
    serializer = kind(data=data)
    if not serializer.is_valid():
        raise refusal("bad_request", text=_first_complaint(serializer.errors))
    return dict(serializer.validated_data)


def turn_from(fields: dict[str, Any], *, session_id: str | None = None) -> Turn:
    """Return the turn of validated fields; `session_id` where they hold none."""
    return Turn(
        session_id=fields.get("sessionId") or session_id or "",
        provider=fields["provider"],
        messages=fields["messages"],
        model=fields.get("model"),
        temperature=fields.get("temperature"),
        max_tokens=fields.get("maxTokens") or fields.get("max_tokens"),
        conversation_id=fields.get("conversationId"),
    )


def readable_session_id(data: Any) -> str | None:
    """Return the session id of a payload that may be anything, None without one."""
    session_id = data.get("sessionId") if isinstance(data, dict) else None
    try:
        return NameField(max_length=128).to_internal_value(session_id)
    except serializers.ValidationError:
        return None


def _message(item: Any, index: int) -> ChatMessage:
    if not isinstance(item, dict):
        raise _wrong("must be an object", at=f"[{index}]")
    role, content = item.get("role"), item.get("content")
    if not isinstance(role, str) or role not in _ROLES:
        raise _wrong("must be system, user or assistant", at=f"[{index}].role")
    if not isinstance(content, str) or not (content or role == "assistant"):
        raise _wrong("must be a string that is not empty", at=f"[{index}].content")
    return ChatMessage(_ROLES[role], _UNSTORABLE.sub("\ufffd", content))


def _wrong(complaint: str, *, at: str = "") -> serializers.ValidationError:
    return serializers.ValidationError(f"{at} {complaint}")


def _first_complaint(errors: Any) -> str:
    name, complaints = next(iter(errors.items()))
    complaint = complaints[0]
    if complaint.code == "required":
        return f"{name} is missing"
    if complaint.code == "null":
        return f"{name} must not be null"
    return f"{name}{complaint}"
