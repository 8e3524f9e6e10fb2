"""Conversations and their messages as REST clients see them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from llmchat.api.decimals import plain
from llmchat.books.extra import decoded
from llmchat.models import Conversation, Message


def in_list(row: Conversation, cost: Decimal | None) -> dict[str, Any]:
    """Return a conversation without its messages; a `cost` of None means unknown."""
    return {
        "id": str(row.pk),
        "title": row.title,
        "provider": row.provider,
        "model": row.model,
        "state": row.state or None,
        "createdAt": row.created_at.isoformat(),
        "updatedAt": row.updated_at.isoformat(),
        "messageCount": row.message_count - row.replaced_count,
        "usage": {"inputTokens": row.input_tokens, "outputTokens": row.output_tokens},
        "cost": None if cost is None else plain(cost),
    }


def in_full(row: Message) -> dict[str, Any]:
    """Return a message; fields that only answers have are null in other messages.

    `images`, `toolCalls` and `toolCallId` are present only if the message has them.
    """
    return decoded(row.extra) | {
        "id": str(row.pk),
        "role": row.role,
        "content": row.content,
        "state": row.state,
        "createdAt": row.created_at.isoformat(),
        "durationMs": row.duration_ms,
        "provider": row.provider or None,
        "model": row.model or None,
        "answeredBy": row.answered_by or None,
        "fingerprint": row.fingerprint or None,
        "finishReason": _reason(row),
        "code": row.error_code or None,
        "usage": _usage(row),
        "cost": None if row.cost is None else plain(row.cost),
    }


def _reason(row: Message) -> str | None:
    """Return why a complete answer ended; for any other, its state says that."""
    is_whole = row.state == Message.State.COMPLETE
    return row.finish_reason or None if is_whole else None


def _usage(row: Message) -> dict[str, Any] | None:
    if row.input_tokens is None and row.output_tokens is None:
        return None
    return {
        "inputTokens": row.input_tokens,
        "outputTokens": row.output_tokens,
        "reasoningTokens": row.reasoning_tokens,
        "cacheReadTokens": row.cache_read_tokens,
        "cacheWriteTokens": row.cache_write_tokens,
        "source": row.usage_source,
    }
