"""What `previous_response_id` stands for: a conversation, up to one of its answers.

A request that names the last answer continues its conversation. After an earlier
answer, or with other instructions, a new one begins with the same messages.
"""

from __future__ import annotations

from typing import cast
from uuid import UUID

from llmchat.api.openai.errors import ParameterError, wrong
from llmchat.books.extra import restored
from llmchat.errors import refusal
from llmchat.models import Message
from llmchat.providers.types import ChatMessage, Role
from llmchat.reports import own

RESPONSE = "resp_"
_PARAM = "previous_response_id"


def previous_of(user_id: int, response_id: str) -> tuple[ChatMessage, ...]:
    """Return the messages up to and including the answer that a response id names.

    Raises: ChatError `conversation_not_found`, `session_active`, `bad_request`.
    """
    rows = own.messages_until(user_id, _message_id(response_id))
    if not rows:
        raise _not_found(response_id)
    if any(row.state == Message.State.STREAMING for row in rows):
        text = "The previous response is still being written"
        raise ParameterError(refusal("session_active", text=text), _PARAM)
    return tuple(_message(row) for row in rows if row.content or row.extra)


def _message(row: Message) -> ChatMessage:
    try:
        return restored(cast("Role", row.role), row.content, row.extra)
    except LookupError as exc:
        text = "refers to an image that is not stored: send all messages as input"
        raise wrong(_PARAM, text) from exc


def instructed(
    messages: tuple[ChatMessage, ...], instructions: str
) -> tuple[ChatMessage, ...]:
    """Return messages that begin with these instructions, instead of earlier ones."""
    if not instructions:
        return messages
    rest = messages
    while rest and rest[0].role == "system":
        rest = rest[1:]
    return (ChatMessage("system", instructions), *rest)


def _message_id(response_id: str) -> UUID:
    try:
        return UUID(response_id.removeprefix(RESPONSE))
    except ValueError as exc:
        raise _not_found(response_id) from exc


def _not_found(response_id: str) -> ParameterError:
    text = f"Previous response with id '{response_id[:64]}' not found"
    error = refusal("conversation_not_found", text=text)
    return ParameterError(error, _PARAM)
