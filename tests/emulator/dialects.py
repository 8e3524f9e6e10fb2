"""Scenarios that only one API has, or only one kind of server."""

from __future__ import annotations

from .api import Api, event
from .claude_api import ClaudeApi
from .gemini_api import GeminiApi
from .openai_api import OpenAIApi
from .response import Pause, Reset, Response, Step
from .scenarios import OPENAI, SHORT, UNFINISHED, scenario


def _openai(api: Api) -> OpenAIApi:
    assert isinstance(api, OpenAIApi)
    return api


def _with_first(api: OpenAIApi, *deltas: object) -> Response:
    """Return a stream with these deltas before the usual ones."""
    role, *others = api.events(SHORT)
    extra = [event(api.chunk(delta)) for delta in deltas]
    return Response([role, *extra, *others])


@scenario("delta-null", *OPENAI)
def _delta_null(api: Api) -> Response:
    return _with_first(_openai(api), None, {"content": None}, {})


@scenario("delta-list", *OPENAI)
def _delta_list(api: Api) -> Response:
    part = {"type": "text", "text": "Parts. "}
    return _with_first(_openai(api), {"content": [part]})


@scenario("thinking-parts", *OPENAI)
def _thinking_parts(api: Api) -> Response:
    """Thoughts as parts of the content, as Mistral sends them."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    beside = [{"type": "thinking", "text": "hm"}, {"type": "text", "text": "So: "}]
    return _with_first(_openai(api), {"content": [thought]}, {"content": beside})


@scenario("second-choice", *OPENAI)
def _second_choice(api: Api) -> Response:
    """Chunks of another answer between those of the first, and finished before it."""
    openai = _openai(api)
    other = openai.chunk({"content": "other"}, "stop")
    choices = other["choices"]
    assert isinstance(choices, list)
    choices[0]["index"] = 1
    return Response(
        [step for item in api.events(SHORT) for step in (event(other), item)]
    )


@scenario("early-finish", *OPENAI)
def _early_finish(api: Api) -> Response:
    """A finish reason long before the last text."""
    first, *others = api.events(SHORT)
    early = event(_openai(api).chunk({}, "stop"))
    return Response([first, early, Pause(0.3), *others])


@scenario("no-choices-first", *OPENAI)
def _no_choices_first(api: Api) -> Response:
    first = {"id": "", "model": "", "choices": [], "prompt_filter_results": [{}]}
    return Response([event(first), *api.events(SHORT)])


@scenario("bare-chunks", *OPENAI)
def _bare_chunks(api: Api) -> Response:
    """No id, no index, no role, the text on the finish chunk, an error-free end."""
    chunks = [
        {"choices": [{"delta": {"content": "Hi"}}]},
        {"choices": [{"delta": {"content": " you"}, "finish_reason": "stop"}]},
    ]
    return Response([event(chunk) for chunk in chunks])


@scenario("refusal", *OPENAI)
def _refusal(api: Api) -> Response:
    openai = _openai(api)
    deltas = [{"refusal": "I can't "}, {"refusal": "help."}]
    chunks = [event(openai.chunk(delta)) for delta in deltas]
    last = event(openai.chunk({}, "stop"))
    return Response([*chunks, last, event("[DONE]")])


@scenario("string-error", *OPENAI)
def _string_error(api: Api) -> Response:
    return Response([*api.events(UNFINISHED), event({"error": "runner gone"})])


@scenario("detail-error", *OPENAI)
def _detail_error(api: Api) -> Response:
    return Response([event({"detail": "Internal Server Error"})])


@scenario("object-error", *OPENAI)
def _object_error(api: Api) -> Response:
    return Response([event({"object": "error", "message": "bad", "code": 400})])


@scenario("ollama-error", *OPENAI)
def _ollama_error(api: Api) -> Response:
    """An error turned into an innocent chunk, then the end."""
    return Response(
        [*api.events(UNFINISHED), event(_openai(api).chunk({"content": ""}))]
    )


def _claude(api: Api) -> ClaudeApi:
    assert isinstance(api, ClaudeApi)
    return api


@scenario("second-start-same", "claude")
def _second_start_same(api: Api) -> Response:
    return Response([_claude(api).message_start(), *api.events(SHORT)])


@scenario("second-start-other", "claude")
def _second_start_other(api: Api) -> Response:
    events = api.events(SHORT)
    return Response([*events[:5], _claude(api).message_start("msg_2"), *events[5:]])


@scenario("unnamed-events", "claude")
def _unnamed_events(api: Api) -> Response:
    """Events without their `event:` line, which a proxy may drop."""
    events = [b"data: " + item.split(b"data: ", 1)[1] for item in api.events(SHORT)]
    return Response(events)


@scenario("other-blocks", "claude")
def _other_blocks(api: Api) -> Response:
    """Unknown blocks and deltas, and a block that starts with text."""
    start, ping, *others = api.events(SHORT)
    blocks: list[dict[str, object]] = [
        {"type": "fallback"},
        {"type": "redacted_thinking", "data": "eA=="},
        {"type": "text", "text": "First. "},
    ]
    extra = [
        event(
            {"type": "content_block_start", "index": 9, "content_block": block},
            "content_block_start",
        )
        for block in blocks
    ]
    delta = {"type": "brand_new_delta", "text": "not the answer"}
    data = {"type": "content_block_delta", "index": 9, "delta": delta}
    return Response([start, ping, *extra, event(data, "content_block_delta"), *others])


def _gemini(api: Api) -> GeminiApi:
    assert isinstance(api, GeminiApi)
    return api


@scenario("blocked", "gemini")
def _blocked(api: Api) -> Response:
    body = {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 11, "totalTokenCount": 11},
    }
    return Response([event(body, newline="\r\n")])


@scenario("finish-everywhere", "gemini")
def _finish_everywhere(api: Api) -> Response:
    """A finish reason on every event, the first one without text."""
    gemini = _gemini(api)
    responses = [gemini.response([], None), *gemini.responses(SHORT)]
    for response in responses:
        candidates = response["candidates"]
        assert isinstance(candidates, list)
        candidates[0]["finishReason"] = "STOP"
    steps: list[Step] = []
    for response in responses:
        steps += [event(response, newline="\r\n"), Pause(0.02)]
    return Response(steps)


@scenario("cut-after-early-finish", "gemini")
def _cut_after_early_finish(api: Api) -> Response:
    """A reset when every event so far had a finish reason, but more was to come."""
    steps = list(_finish_everywhere(api).steps)
    return Response([*steps[:4], Reset()])


@scenario("second-candidate", "gemini")
def _second_candidate(api: Api) -> Response:
    """Another answer in front of the first, in the same events."""
    gemini = _gemini(api)
    responses = gemini.responses(SHORT)
    for response in responses:
        candidates = response["candidates"]
        assert isinstance(candidates, list)
        other = {"index": 1, "content": {"parts": [{"text": "other"}]}}
        candidates.insert(0, {**other, "finishReason": "MAX_TOKENS"})
    return Response([event(response, newline="\r\n") for response in responses])


@scenario("no-parts", "gemini")
def _no_parts(api: Api) -> Response:
    gemini = _gemini(api)
    usage_only = {"usageMetadata": {"promptTokenCount": 11}}
    items = [usage_only, {"candidates": []}, gemini.response(None, None)]
    extra = [event(item, newline="\r\n") for item in items]
    return Response([*extra, *api.events(SHORT)])


@scenario("bare-error", "gemini")
def _bare_error(api: Api) -> Response:
    return Response([*api.events(UNFINISHED), _gemini(api).bare_error("unavailable")])


@scenario("bare-error-first", "gemini")
def _bare_error_first(api: Api) -> Response:
    return Response([_gemini(api).bare_error("unavailable")])
