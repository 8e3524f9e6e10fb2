"""The objects that clients get: always the documented fields and types, no others."""

from __future__ import annotations

import json
import time
import uuid

import pytest

from llmchat.answers.events import Cancelled, Done, Failed, Started, Token
from llmchat.api.wire import NAMES, payload, token_begin, token_rests
from llmchat.errors import REFUSALS, from_provider, refusal
from llmchat.providers.errors import ProviderError
from llmchat.providers.types import ToolCall, Usage

CONVERSATION, MESSAGE, QUESTION = (uuid.uuid4() for _ in range(3))
PLACE = {
    "conversationId": str(CONVERSATION),
    "messageId": str(MESSAGE),
    "questionId": str(QUESTION),
}
USAGE = {
    "inputTokens": 7,
    "outputTokens": 3,
    "reasoningTokens": 1,
    "cacheReadTokens": 4,
    "cacheWriteTokens": 2,
    "source": "provider",
}
ERROR = {"sessionId": "s", "error": "Provider not found", "code": "provider_not_found"}

CASES = [
    (
        Started("s", "openai", "m", CONVERSATION, MESSAGE, QUESTION),
        "llm:stream:start",
        {"sessionId": "s", "provider": "openai", "model": "m", **PLACE},
    ),
    (
        Done(
            "s",
            "openai",
            "m",
            CONVERSATION,
            MESSAGE,
            QUESTION,
            "Hi",
            "stop",
            Usage(7, 3, "provider", 1, 4, 2),
        ),
        "llm:stream:done",
        {
            "sessionId": "s",
            "provider": "openai",
            "model": "m",
            "fullResponse": "Hi",
            "tokenCount": 3,
            "finishReason": "stop",
            "usage": USAGE,
            **PLACE,
        },
    ),
    (
        Done(
            "s",
            "openai",
            "m",
            CONVERSATION,
            MESSAGE,
            QUESTION,
            "",
            "tool_calls",
            Usage(7, 3, "provider", 1, 4, 2),
            (ToolCall("a", "weather", "{}"),),
        ),
        "llm:stream:done",
        {
            "sessionId": "s",
            "provider": "openai",
            "model": "m",
            "fullResponse": "",
            "tokenCount": 3,
            "finishReason": "tool_calls",
            "usage": USAGE,
            "toolCalls": [{"id": "a", "name": "weather", "arguments": "{}"}],
            **PLACE,
        },
    ),
    (Failed("s", refusal("provider_not_found")), "llm:stream:error", ERROR),
    (
        Failed(None, refusal("rate_limited", retry_after=9)),
        "llm:stream:error",
        {
            "sessionId": None,
            "error": "Rate limit exceeded",
            "code": "rate_limited",
            "retryAfter": 9,
        },
    ),
    (
        Failed(
            "s", refusal("provider_not_found"), "Hi", CONVERSATION, MESSAGE, QUESTION
        ),
        "llm:stream:error",
        {**ERROR, "partialResponse": "Hi", **PLACE},
    ),
    (
        Cancelled("s", CONVERSATION, MESSAGE, QUESTION, ""),
        "llm:stream:cancelled",
        {"sessionId": "s", "partialResponse": "", **PLACE},
    ),
]


@pytest.mark.parametrize(("event", "name", "fields"), CASES)
def test_an_event_has_its_name_and_exactly_its_fields(event, name, fields):
    before = int(time.time() * 1000)
    sent = json.loads(json.dumps(payload(event)))
    timestamp = sent.pop("timestamp")

    assert NAMES[type(event)] == name
    assert sent == fields
    assert isinstance(timestamp, int)
    assert before <= timestamp <= int(time.time() * 1000)


@pytest.mark.parametrize(
    "text",
    ["Hi", 'a "quote" \\ and\n\t\0\x1f\x7f', "größer 漢字 🙂", "\u2028</script>"],
)
def test_a_token_is_built_from_its_parts(text):
    before = int(time.time() * 1000)
    [rest] = token_rests([text])
    sent = json.loads(token_begin(text) + rest)
    timestamp = sent.pop("timestamp")

    assert NAMES[Token] == "llm:stream:token"
    assert sent == {"sessionId": text, "token": text}
    assert isinstance(timestamp, int)
    assert before <= timestamp <= int(time.time() * 1000)


def test_a_providers_failure_keeps_its_code_status_and_patience():
    error = from_provider(ProviderError("upstream said no", retry_after=2.4))
    assert (error.code, error.status, error.retry_after) == ("provider_error", 502, 2)
    assert "upstream said no" not in error.text


@pytest.mark.parametrize("code", REFUSALS)
def test_every_refusal_is_one_short_sentence(code):
    error = refusal(code, label="OpenAI")
    assert 400 <= error.status < 600
    assert error.text[0].isupper()
    assert "\n" not in error.text
    assert "{" not in error.text
    assert len(error.text) < 80
