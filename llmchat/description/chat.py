"""The entries of the chat and its providers."""

from __future__ import annotations

from llmchat.description.errors import PROVIDER_CODES
from llmchat.description.operation import EVENTS, JSON, Answer, Operation, Schema
from llmchat.description.shapes import TEXT, list_of, record, ref

_EVENTS = {
    "llm:stream:start": ref("StreamStart"),
    "llm:stream:token": ref("StreamToken"),
    "llm:stream:done": ref("StreamDone"),
    "llm:stream:error": ref("StreamError"),
    "llm:stream:cancelled": ref("StreamCancelled"),
}
# The schema of a single event: OpenAPI 3.1 cannot describe a sequence of them.
EVENT_STREAM: Schema = {
    "type": "object",
    "description": "A start event, any number of token events, and exactly one done, "
    "error or cancelled event. While there is nothing to send, a comment every 15 "
    "seconds keeps the connection open. To resume, send the last `id` as "
    "`Last-Event-ID`.",
    "properties": {
        "event": {"type": "string", "enum": list(_EVENTS)},
        "data": {
            "type": "string",
            "contentMediaType": JSON,
            "contentSchema": {"anyOf": list(_EVENTS.values())},
        },
        "id": TEXT,
    },
    "required": ["event", "data", "id"],
}
TURN_CODES = (
    *("permission_denied", "provider_not_found", "conversation_not_found"),
    *("session_active", "cancelled", "rate_limited", "too_many_streams"),
    *("budget_exceeded", "key_not_configured", "address_not_configured"),
    *("price_not_configured", "draining"),
)

OPERATIONS = {
    "POST /llm/chat": Operation(
        summary="Get an answer",
        tag="Chat",
        details="Send the whole history; the server finds the conversation that it "
        "continues. A request that is refused gets an error status and a JSON error, "
        "with or without `stream`. If a stream fails after its first event, the error "
        "is an event of the stream. Closing the connection cancels the answer.",
        body=ref("ChatRequest"),
        example={
            "provider": "openai",
            "messages": [{"role": "user", "content": "Hello!"}],
        },
        answers={
            200: Answer(
                "The whole answer, or a stream of events",
                {JSON: ref("StreamDone"), EVENTS: EVENT_STREAM},
            )
        },
        codes=(
            *("message_not_found", "conversation_active"),
            *TURN_CODES,
            *PROVIDER_CODES,
        ),
    ),
    "GET /llm/providers": Operation(
        summary="List the providers that you may use",
        tag="Chat",
        answers={
            200: Answer(
                "The providers that can answer now, then the others, each by name",
                {JSON: record({"providers": list_of(ref("Provider"))})},
            )
        },
    ),
}
