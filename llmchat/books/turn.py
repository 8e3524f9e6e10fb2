"""One turn of a conversation, as it comes in."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from llmchat.providers.types import ChatMessage


@dataclass(frozen=True, slots=True)
class Turn:
    """A validated request for an answer; the last message is the user's."""

    session_id: str
    provider: str
    messages: tuple[ChatMessage, ...]
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    conversation_id: UUID | None = None
