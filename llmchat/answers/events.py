"""One turn as it comes in, its stream's events as they go out, and their wire form.

Socket.IO and server-sent events carry the same names and objects.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from llmchat.errors import ChatError
from llmchat.providers.types import ChatMessage, Usage


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


@dataclass(frozen=True, slots=True)
class Started:
    """The turn is stored and its answer begins."""

    session_id: str
    provider: str
    model: str
    conversation_id: UUID
    message_id: UUID


@dataclass(frozen=True, slots=True)
class Token:
    """A new piece of the answer, and nothing that was sent before."""

    session_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The answer is whole. `finish_reason` is a value of `FinishReason`."""

    session_id: str
    provider: str
    model: str
    conversation_id: UUID
    message_id: UUID
    text: str
    finish_reason: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Failed:
    """The stream ended badly; `partial` is the text that was sent before."""

    session_id: str | None
    error: ChatError
    partial: str = ""
    conversation_id: UUID | None = None
    message_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The stream was cancelled; `partial` is the text that was sent before."""

    session_id: str
    conversation_id: UUID
    message_id: UUID
    partial: str


End = Done | Failed | Cancelled
StreamEvent = Started | Token | Done | Failed | Cancelled

NAMES: dict[type[StreamEvent], str] = {
    Started: "llm:stream:start",
    Token: "llm:stream:token",
    Done: "llm:stream:done",
    Failed: "llm:stream:error",
    Cancelled: "llm:stream:cancelled",
}


def payload(event: StreamEvent) -> dict[str, Any]:
    """Return the wire's object for `event`, stamped with the time of the call."""
    timestamp = time.time_ns() // 1_000_000
    # Tokens first: there are hundreds of them for one of the others.
    if type(event) is Token:
        return {
            "sessionId": event.session_id,
            "token": event.text,
            "timestamp": timestamp,
        }
    return _fields(event) | {"timestamp": timestamp}


def _fields(event: StreamEvent) -> dict[str, Any]:
    match event:
        case Started():
            return {
                "sessionId": event.session_id,
                "provider": event.provider,
                "model": event.model,
                **_place(event.conversation_id, event.message_id),
            }
        case Done():
            return {
                "sessionId": event.session_id,
                "provider": event.provider,
                "fullResponse": event.text,
                "tokenCount": event.usage.output_tokens,
                "model": event.model,
                **_place(event.conversation_id, event.message_id),
                "finishReason": event.finish_reason,
                "usage": {
                    "inputTokens": event.usage.input_tokens,
                    "outputTokens": event.usage.output_tokens,
                    "source": event.usage.source,
                },
            }
        case Failed():
            return _failure(event)
        case Cancelled():
            return {
                "sessionId": event.session_id,
                **_place(event.conversation_id, event.message_id),
                "partialResponse": event.partial,
            }
        case Token():
            return {"sessionId": event.session_id, "token": event.text}


def _failure(event: Failed) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "sessionId": event.session_id,
        "error": event.error.text,
        "code": event.error.code,
    }
    if event.error.retry_after is not None:
        fields["retryAfter"] = event.error.retry_after
    if event.partial:
        fields["partialResponse"] = event.partial
    if event.conversation_id and event.message_id:
        fields |= _place(event.conversation_id, event.message_id)
    return fields


def _place(conversation_id: UUID, message_id: UUID) -> dict[str, str]:
    return {"conversationId": str(conversation_id), "messageId": str(message_id)}
