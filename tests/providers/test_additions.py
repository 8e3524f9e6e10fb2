"""What the providers have added to their APIs recently: it disturbs no answer."""

from __future__ import annotations

import json

import pytest

from llmchat.providers.classify import error_from_response
from tests.emulator.application import APIS as EMULATED
from tests.emulator.scenarios import SHORT
from tests.support.provider_script import Step, play, sse


def openai_chunk(**fields: object) -> dict[str, object]:
    return {"object": "chat.completion.chunk", "choices": [], **fields}


def block(kind: str, **fields: object) -> dict[str, object]:
    return {"type": kind, "index": 7, **fields}


def started(kind: str, **fields: object) -> dict[str, object]:
    return block("content_block_start", content_block={"type": kind, **fields})


def delta(kind: str, **fields: object) -> dict[str, object]:
    return block("content_block_delta", delta={"type": kind, **fields})


ADDITIONS: list[tuple[str, object]] = [
    ("openai", openai_chunk(moderation={"results": [{"flagged": False}]})),
    ("openai", {"object": "chat.completion.moderation", "moderation": {"score": 0.1}}),
    ("openai", openai_chunk(service_tier="priority", obfuscation="x")),
    ("deepseek", openai_chunk(system_fingerprint="fp_1017")),
    ("claude", started("compaction", content=None)),
    ("claude", delta("compaction_delta", content="a summary")),
    ("claude", started("fallback", model="other")),
    ("claude", started("tool_addition", name="x")),
    ("claude", {"type": "system.message", "text": "no answer"}),
    ("claude", delta("citations_delta", citation={"cited_text": "no answer"})),
    ("gemini", {"modelStatus": {"modelStage": "STABLE"}}),
    ("gemini", {"candidates": [{"urlContextMetadata": {}, "safetyRatings": []}]}),
    ("gemini", {"candidates": [{"content": {"parts": [{"toolCall": {}}]}}]}),
]


@pytest.mark.parametrize(("api", "addition"), ADDITIONS, ids=str)
async def test_what_nobody_asked_for_is_passed_over(api: str, addition: object) -> None:
    steps: list[Step] = []
    for item in EMULATED[api].events(SHORT):
        steps += [item, sse(addition)]
    played = await play(api, *steps)
    assert (played.text, played.end.reason) == (SHORT.text, "stop")


async def test_a_compacted_answer_ends_for_a_reason_of_its_own() -> None:
    events = b"".join(EMULATED["claude"].events(SHORT))
    played = await play("claude", events.replace(b"end_turn", b"compaction"))
    assert (played.text, played.end.reason) == (SHORT.text, "other")
    assert played.end.raw_reason == "compaction"


async def test_openai_counts_what_it_writes_to_its_cache_inside_the_input() -> None:
    details = {"cached_tokens": 3, "cache_write_tokens": 9, "text_tokens": 21}
    usage = {
        "prompt_tokens": 21,
        "completion_tokens": 4,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"text_tokens": 4},
    }
    choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}
    end = openai_chunk(usage=usage)
    played = await play("openai", sse({"choices": [choice]}, end, "[DONE]"))
    counted = played.end.usage
    assert (counted.input_tokens, counted.cache_read_tokens) == (21, 3)


async def test_claude_counts_its_cache_beside_the_input() -> None:
    usage = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 6,
        "cache_read_input_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 6},
        "service_tier": "standard",
        "inference_geo": "eu",
        "output_tokens": 4,
    }
    start = {"type": "message_start", "message": {"id": "m", "usage": usage}}
    text = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "H"}}
    stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    end = {"type": "message_stop"}
    played = await play("claude", sse(start, text, {**stop, "usage": usage}, end))
    counted = played.end.usage
    assert (counted.input_tokens, counted.cache_read_tokens) == (21, 5)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (
            400,
            b'{"error":{"type":"invalid_request_error","message":"temperature: not'
            b' supported by this model"}}',
            "bad_request",
        ),
        (
            400,
            b'{"error":{"message":"Function tools are not supported with this model on'
            b' Chat Completions","type":"invalid_request_error","param":"tools"}}',
            "bad_request",
        ),
        (
            400,
            b'{"error":{"message":"Unsupported value: reasoning_effort none","code":'
            b'"unsupported_value","param":"reasoning_effort"}}',
            "bad_request",
        ),
        (
            404,
            b'{"error":{"code":404,"status":"NOT_FOUND","message":"models/gemini-2.5-pro'
            b' is no longer available"}}',
            "model_not_found",
        ),
    ],
)
def test_newer_refusals_are_told_apart(status: int, body: bytes, code: str) -> None:
    assert error_from_response(status, {}, body).code == code


REFUSED = "The provider did not accept the request"
WORDS = {
    "Function tools with reasoning_effort are not supported for gpt-6.2-sol in "
    "/v1/chat/completions. To use function tools, use /v1/responses.": "tools",
    "This model does not support tools.": "tools",
    "Missing `reasoning_content` field in the assistant message": "reasoning",
    "Your organization must be verified to stream this model.": "stream",
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
    "'max_completion_tokens' instead.": "token limit",
    "Unsupported value: 'temperature' does not support 0.2 with this model. Only the "
    "default (1) value is supported.": "temperature",
    "temperature: not supported by this model": "temperature",
    "`top_p` is deprecated for this model": "temperature",
    "Unknown field stream_options": "request for token counts",
    "Unsupported value: 'messages[0].role' does not support 'system' with this "
    "model.": "system message",
    "Invalid content type. image_url is only supported by certain models.": "images",
    "response_format json_schema is not supported": "response_format",
    "Unsupported value: reasoning_effort none": "thinking",
    "Invalid 'temperature': decimal above maximum value.": REFUSED,
    "tools[0].function.name is too long": REFUSED,
    "tools.0.custom.strict: Extra inputs are not permitted": REFUSED,
    "messages: at least one message is required": REFUSED,
}


@pytest.mark.parametrize(("said", "told"), WORDS.items())
def test_what_a_model_does_not_take_is_told_in_words_of_ours(
    said: str, told: str
) -> None:
    body = {"error": {"message": said, "type": "invalid_request_error"}}
    error = error_from_response(400, {}, json.dumps(body).encode())
    assert error.code == "bad_request"
    assert told in error.text
    # What can be done about it is in the log.
    assert (": " in error.log_detail) is (told != REFUSED)
    assert said not in f"{error.text} {error.log_detail}"


def test_a_model_of_another_interface_is_not_found() -> None:
    said = "This model is only supported in v1/responses, not in v1/chat/completions."
    body = {"error": {"message": said, "type": "invalid_request_error"}}
    error = error_from_response(404, {}, json.dumps(body).encode())
    assert error.code == "model_not_found"


@pytest.mark.parametrize("code", ["invalid_prompt", "bio_policy"])
def test_a_prompt_against_a_policy_is_filtered(code: str) -> None:
    body = {"error": {"message": "Flagged.", "code": code}}
    error = error_from_response(400, {}, json.dumps(body).encode())
    assert error.code == "content_filtered"
