"""The entries of the chat and its providers."""

from __future__ import annotations

from llmchat.description.errors import PROVIDER_CODES
from llmchat.description.operation import EVENTS, JSON, Answer, Operation, Schema
from llmchat.description.shapes import list_of, record, ref

EVENT_STREAM: Schema = {
    "type": "string",
    "description": "`event:` names it, `data:` is its object, and `id:` is what "
    "`Last-Event-ID` takes: `llm:stream:start` (`StreamStart`), any number of "
    "`llm:stream:token` (`StreamToken`), then exactly one of `llm:stream:done` "
    "(`StreamDone`), `llm:stream:error` (`StreamError`) and `llm:stream:cancelled` "
    "(`StreamCancelled`). A comment comes every 15 seconds while there is nothing to "
    "tell.",
    "examples": [
        "event: llm:stream:token\n"
        'data: {"sessionId":"s-1","token":"Hel","timestamp":1767225600000}\n'
        "id: 1\n\n"
    ],
}
_TURN_CODES = (
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
        codes=(*_TURN_CODES, *PROVIDER_CODES),
    ),
    "GET /llm/providers": Operation(
        summary="List the providers that you may use",
        tag="Chat",
        answers={
            200: Answer(
                "The providers",
                {JSON: record({"providers": list_of(ref("Provider"))})},
            )
        },
    ),
}
