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
    "description": "Events: a start, any number of tokens, and exactly one of done, "
    "error and cancelled. A comment comes every 15 seconds while there is nothing to "
    "tell. `id` is what `Last-Event-ID` takes.",
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
        summary="Answer a turn",
        tag="Chat",
        details="Send the whole history; the server finds the conversation that it "
        "continues. A request that is refused gets a status and an error whether or "
        "not it asked for a stream; a failure behind the first event of a stream is "
        "an event itself. Closing the connection cancels the answer.",
        body=ref("ChatRequest"),
        example={
            "provider": "openai",
            "messages": [{"role": "user", "content": "Hello!"}],
        },
        answers={
            200: Answer(
                "The answer, whole or as it is written",
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
                "The providers, those first that can answer now, then by name",
                {JSON: record({"providers": list_of(ref("Provider"))})},
            )
        },
    ),
}
