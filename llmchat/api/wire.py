"""The events of a stream as clients see them: their names and their objects.

They are the same over Socket.IO and as server-sent events.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from json.encoder import encode_basestring
from typing import Any

from llmchat.access.accounts import Notice
from llmchat.answers.events import (
    Cancelled,
    Done,
    End,
    Failed,
    Started,
    StreamEvent,
    Token,
)
from llmchat.answers.log import AnswerLog
from llmchat.api.decimals import plain

NAMES: dict[type[StreamEvent], str] = {
    Started: "llm:stream:start",
    Token: "llm:stream:token",
    Done: "llm:stream:done",
    Failed: "llm:stream:error",
    Cancelled: "llm:stream:cancelled",
}


_TEXTS = {"fullResponse", "partialResponse"}


def token_begin(session_id: str) -> str:
    """Return the beginning of the JSON of each token; `token_rests` complete it."""
    return f'{{"sessionId":{encode_basestring(session_id)},"token":'


def token_rests(texts: Sequence[str]) -> list[str]:
    """Return the rest of the JSON of each token, stamped with the time of the call."""
    end = f',"timestamp":{time.time_ns() // 1_000_000}}}'
    return [encode_basestring(text) + end for text in texts]


def payload(event: Started | End) -> dict[str, Any]:
    """Return the object that is sent for `event`, stamped with the time of the call.

    The object of a token is put together by the functions above instead.
    """
    fields = _fields(event) | {"timestamp": time.time_ns() // 1_000_000}
    if isinstance(event, Done | Failed | Cancelled) and event.notice is not None:
        fields["budgetNotice"] = _notice(event.notice)
    return fields


def attached_fields(stream: AnswerLog) -> dict[str, Any]:
    """Return the state of an answer that has begun, for a client that attaches."""
    assert stream.started is not None
    answer = started_fields(stream.started) | {"text": stream.text}
    if stream.end is not None:
        name = NAMES[type(stream.end)]
        answer["ended"] = {"event": name, "data": payload(stream.end)}
    return answer


def shortened(data: dict[str, Any]) -> dict[str, Any]:
    """Return an end without its text and tool calls, which `messageId` finds."""
    short = {name: value for name, value in data.items() if name != "toolCalls"}
    texts = dict.fromkeys(_TEXTS & data.keys(), "")
    return short | texts | {"shortened": True}


def _fields(event: Started | End) -> dict[str, Any]:
    match event:
        case Started():
            return started_fields(event)
        case Done():
            return _done(event)
        case Failed():
            return _failure(event)
        case Cancelled():
            return {
                "sessionId": event.session_id,
                **place(event),
                "partialResponse": event.partial,
            }


def started_fields(event: Started) -> dict[str, Any]:
    """Return what identifies an answer, and which provider and model write it."""
    return {
        "sessionId": event.session_id,
        "provider": event.provider,
        "model": event.model,
        **place(event),
    }


def _done(event: Done) -> dict[str, Any]:
    fields = {
        "sessionId": event.session_id,
        "provider": event.provider,
        "fullResponse": event.text,
        "tokenCount": event.usage.output_tokens,
        "model": event.model,
        **place(event),
        "finishReason": event.finish_reason,
        "usage": {
            "inputTokens": event.usage.input_tokens,
            "outputTokens": event.usage.output_tokens,
            "reasoningTokens": event.usage.reasoning_tokens,
            "cacheReadTokens": event.usage.cache_read_tokens,
            "cacheWriteTokens": event.usage.cache_write_tokens,
            "source": event.usage.source,
        },
    }
    if event.tool_calls:
        fields["toolCalls"] = [asdict(call) for call in event.tool_calls]
    return fields


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
    if event.conversation_id:
        fields |= place(event)
    return fields


def _notice(notice: Notice) -> dict[str, Any]:
    return {
        "period": notice.period,
        "unit": notice.unit,
        "limit": plain(notice.limit),
        "spent": plain(notice.spent),
        "percent": notice.percent,
        "renewsAt": notice.renews_at.isoformat(),
        "of": notice.of,
    }


def place(of: Started | End) -> dict[str, str]:
    """Return the ids of an answer, its conversation, and the message it answers."""
    return {
        "conversationId": str(of.conversation_id),
        "messageId": str(of.message_id),
        "questionId": str(of.question_id),
    }
