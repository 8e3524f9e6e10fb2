"""The events of a stream as clients see them: their names and their objects.

Socket.IO and server-sent events carry the same ones.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from llmchat.answers.events import (
    Cancelled,
    Done,
    Failed,
    Started,
    StreamEvent,
    Token,
)

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
