"""Every kind of thinking is progress, and none of it is text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.emulator.driver import HASTY
from tests.support.clock import Passing, let_pass
from tests.support.provider_script import Step, play, sse

# The pauses are longer together than any limit except the total, but each is shorter
# than the idle limit.
LIMITS = replace(HASTY, idle_s=0.5, first_token_s=0.5, total_s=30)
PAUSE = Passing(0.1)
ROUNDS = 7


def delta(**fields: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": fields}]}


def parts(*items: object) -> dict[str, object]:
    return delta(content=list(items))


def claude(kind: str, **fields: object) -> dict[str, object]:
    return {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": kind, **fields},
    }


def gemini(**part: object) -> dict[str, object]:
    return {"candidates": [{"content": {"parts": [part]}}]}


THOUGHTS: list[tuple[str, object]] = [
    ("openai", delta(reasoning_content="hm")),
    ("openai", delta(reasoning="hm", content="")),
    ("openai", delta(content=None, reasoning_details=[{"text": "hm"}])),
    ("openai", delta(thinking_blocks=[{"thinking": "hm"}])),
    (
        "openai",
        parts({"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}),
    ),
    ("openai", parts({"type": "thinking", "thinking": "hm"})),
    ("openai", parts({"type": "thinking", "text": "hm"})),
    ("openai", parts({"type": "reasoning", "text": "hm"})),
    ("openai", parts({"type": "text", "text": ""}, {"type": "thinking", "text": "h"})),
    ("deepseek", delta(reasoning_content="hm", content=None)),
    ("claude", claude("thinking_delta", thinking="hm")),
    ("claude", claude("signature_delta", signature="QUJD")),
    (
        "claude",
        {"type": "content_block_start", "content_block": {"type": "redacted_thinking"}},
    ),
    ("gemini", gemini(text="hm", thought=True)),
    ("gemini", gemini(thought=True)),
    ("gemini", gemini(text="", thoughtSignature="QUJD")),
]
ANSWERS = {
    "openai": sse(delta(content="Hi"), "[DONE]"),
    "claude": sse(claude("text_delta", text="Hi"), {"type": "message_stop"}),
    "gemini": sse(
        gemini(text="Hi"), {"candidates": [{"finishReason": "STOP"}]}, newline="\r\n"
    ),
}
ANSWERS["deepseek"] = ANSWERS["openai"]


@pytest.mark.parametrize(("api", "thought"), THOUGHTS, ids=str)
async def test_thinking_is_progress_and_not_shown(api: str, thought: object) -> None:
    thinking: list[Step] = [sse(thought), PAUSE] * ROUNDS
    await let_pass(0)  # from here on, time passes only where the script says so
    played = await play(api, *thinking, ANSWERS[api], timeouts=LIMITS)
    assert (played.text, played.error) == ("Hi", None)


async def test_thoughts_that_are_only_counted_are_progress() -> None:
    counted: list[Step] = []
    for tokens in range(1, ROUNDS + 1):
        usage = {"promptTokenCount": 1, "thoughtsTokenCount": tokens}
        counted += [sse({"usageMetadata": usage}), PAUSE]
    await let_pass(0)
    played = await play("gemini", *counted, ANSWERS["gemini"], timeouts=LIMITS)
    assert (played.text, played.error) == ("Hi", None)


SILENCE: list[tuple[str, object]] = [
    ("openai", delta(content="")),
    ("openai", parts()),
    ("openai", parts({"type": "text", "text": ""})),
    ("openai", delta(reasoning_content="", content="")),
    ("openai", delta(role="assistant")),
    ("openai", {"choices": []}),
    ("deepseek", delta(reasoning_content=None, content=None)),
    ("claude", {"type": "ping"}),
    ("claude", claude("text_delta", text="")),
    ("gemini", gemini(text="")),
    ("gemini", {"usageMetadata": {"promptTokenCount": 1, "thoughtsTokenCount": 0}}),
]


@pytest.mark.parametrize(("api", "nothing"), SILENCE, ids=str)
async def test_what_says_nothing_is_no_progress(api: str, nothing: object) -> None:
    silence: list[Step] = [sse(nothing), PAUSE] * ROUNDS
    played = await play(api, *silence, ANSWERS[api], timeouts=LIMITS)
    assert (played.text, played.code) == ("", "provider_timeout")


@pytest.mark.parametrize("api", ["openai", "deepseek"])
async def test_text_beside_a_thought_is_shown_without_it(api: str) -> None:
    both = parts({"type": "thinking", "text": "hm"}, {"type": "text", "text": "H"})
    chunks = [both, delta(content="i", reasoning_content="hm"), parts("!")]
    played = await play(api, sse(*chunks, "[DONE]"))
    assert played.text == "Hi!"
