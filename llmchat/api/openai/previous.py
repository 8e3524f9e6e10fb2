"""What `previous_response_id` stands for: a conversation, up to one of its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast
from uuid import UUID

from llmchat.api.openai.errors import ParameterError
from llmchat.errors import refusal
from llmchat.providers.types import ChatMessage, Role
from llmchat.reports import own

RESPONSE = "resp_"
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Previous:
    """A conversation that is gone on with, and what was said in it."""

    conversation_id: UUID
    messages: tuple[ChatMessage, ...]


def previous_of(user_id: int, response_id: str) -> Previous:
    """Return the user's conversation up to the answer that a response was.

    Raises: ChatError `conversation_not_found`.
    """
    rows = own.messages_until(user_id, _message_id(response_id))
    if not rows:
        raise _not_found(response_id)
    messages = (
        ChatMessage(cast("Role", row.role), row.content)
        for row in rows
        if row.content and row.role in _ROLES
    )
    return Previous(rows[0].conversation_id, tuple(messages))


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
    return ParameterError(error, "previous_response_id")
