"""What a provider has counted is kept, wherever it is and however the answer ends."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace

import pytest

from llmchat.providers.answer import estimate_input_tokens
from llmchat.providers.client import ProviderClient
from llmchat.providers.reading import count
from llmchat.providers.transport import ConnectionLostError
from llmchat.providers.types import ChatMessage, Event, Usage
from tests.emulator.driver import KEY, PATIENT, SOON_IDLE, chat
from tests.support.provider_script import (
    FOREVER,
    Played,
    Script,
    ScriptedTransport,
    Step,
    play,
    provider,
    sse,
)

OPENAI_USAGE = {"prompt_tokens": 21, "completion_tokens": 40}
CLAUDE_USAGE = {"input_tokens": 21, "output_tokens": 40}
GEMINI_USAGE = {"promptTokenCount": 21, "candidatesTokenCount": 40}


def chunk(**fields: object) -> dict[str, object]:
    choice: dict[str, object] = {"index": 0, "delta": {"content": "Hi"}}
    extra = fields.pop("choice", {})
    assert isinstance(extra, dict)
    return {"choices": [choice | extra], **fields}


# The beginning of a stream that has said "Hi" and counted 21 and 40.
BEGUN = {
    "openai": sse(chunk(usage=OPENAI_USAGE)),
    "deepseek": sse(chunk(usage=OPENAI_USAGE)),
    "claude": sse(
        {"type": "message_start", "message": {"usage": CLAUDE_USAGE}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "message_delta", "usage": CLAUDE_USAGE},
    ),
    "gemini": sse(
        {
            "candidates": [{"content": {"parts": [{"text": "Hi"}]}}],
            "usageMetadata": GEMINI_USAGE,
        }
    ),
}
every_api = pytest.mark.parametrize("api", BEGUN)


def guessed(usage: Usage | None) -> tuple[int | None, int]:
    """Return input and output, with what was estimated after the last count."""
    assert usage is not None
    assert usage.source == "estimated"
    return usage.input_tokens, usage.output_tokens


def told(usage: Usage | None) -> tuple[int | None, int]:
    assert usage is not None
    assert usage.source == "provider"
    return usage.input_tokens, usage.output_tokens


# --- where it is ---

PLACES = {
    "chunk": chunk(usage=OPENAI_USAGE, choice={"finish_reason": "stop"}),
    "choice": chunk(choice={"finish_reason": "stop", "usage": OPENAI_USAGE}),
    "choice beside null": chunk(
        usage=None, choice={"finish_reason": "stop", "usage": OPENAI_USAGE}
    ),
    "x_groq": chunk(
        choice={"finish_reason": "stop"}, x_groq={"id": "r", "usage": OPENAI_USAGE}
    ),
    "other names": chunk(usage=CLAUDE_USAGE, choice={"finish_reason": "stop"}),
    "fractions": chunk(
        usage={"prompt_tokens": 20.6, "completion_tokens": 40.4},
        choice={"finish_reason": "stop"},
    ),
}


@pytest.mark.parametrize("api", ["openai", "deepseek"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("is_whole", [False, True], ids=["stream", "whole"])
async def test_usage_may_stand_in_many_places(
    api: str, place: str, is_whole: bool
) -> None:
    body = json.dumps(PLACES[place]).replace('"delta"', '"message"').encode()
    script = Script([body], "application/json")
    played = await play(api, script if is_whole else sse(PLACES[place], "[DONE]"))
    assert told(played.end.usage) == (21, 40)


async def test_the_usage_of_another_choice_is_not_the_answers() -> None:
    other = {"index": 1, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    item = chunk(choice={"finish_reason": "stop", "usage": OPENAI_USAGE})
    assert isinstance(item["choices"], list)
    item["choices"].append(other)
    assert told((await play("openai", sse(item, "[DONE]"))).end.usage) == (21, 40)


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        (12, 12),
        (12.0, 12),
        (12.4, 12),
        (12.5, 13),
        (12.6, 13),
        (0.2, 0),
        (1e300, 100_000_000),
        (10**400, 100_000_000),
        (-1, None),
        (-0.6, None),
        (math.inf, None),
        (math.nan, None),
        (True, None),
        ("12", None),
        (None, None),
    ],
)
def test_a_count_is_rounded_and_bounded(value: object, tokens: int | None) -> None:
    assert count(value) == tokens


async def test_claude_may_count_in_fractions() -> None:
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    usage = {"input_tokens": 20.6, "output_tokens": 40.4}
    end = sse({**delta, "usage": usage}, {"type": "message_stop"})
    assert told((await play("claude", BEGUN["claude"], end)).end.usage) == (21, 40)


async def test_gemini_may_count_thoughts_alone_or_the_candidate() -> None:
    parts = {"parts": [{"text": "Hi"}]}
    candidate = {"content": parts, "finishReason": "STOP", "tokenCount": 30}
    usage = {"promptTokenCount": 20.6, "thoughtsTokenCount": 10}
    item = {"candidates": [candidate], "usageMetadata": usage}
    played = await play("gemini", sse(item))
    assert told(played.end.usage) == (21, 40)
    assert played.end.usage.reasoning_tokens == 10


async def test_deepseek_tells_of_its_cache_in_words_of_its_own() -> None:
    usage = {**OPENAI_USAGE, "prompt_cache_hit_tokens": 8}
    item = chunk(usage=usage, choice={"finish_reason": "stop"})
    played = await play("deepseek", sse(item, "[DONE]"))
    assert played.end.usage.cache_read_tokens == 8


# --- before an error ---


def error_event(api: str, place: str) -> bytes:
    error: dict[str, object] = {"message": "x", "code": 500, "type": "api_error"}
    name, usage = {
        "claude": ("usage", CLAUDE_USAGE),
        "gemini": ("usageMetadata", GEMINI_USAGE),
    }.get(api, ("usage", OPENAI_USAGE))
    if place == "inside":
        return sse({"type": "error", "error": {**error, name: usage}})
    return sse({"type": "error", "error": error, name: usage})


@every_api
@pytest.mark.parametrize("place", ["inside", "beside"])
async def test_usage_on_an_error_event_is_billed(api: str, place: str) -> None:
    text = sse(chunk()) if api in ("openai", "deepseek") else b""
    played = await play(api, text + error_event(api, place))
    assert played.error is not None
    assert told(played.billed[-1]) == (21, 40)


@every_api
@pytest.mark.parametrize("status", [200, 400])
async def test_usage_in_an_errors_body_is_billed(api: str, status: int) -> None:
    body = error_event(api, "beside").removeprefix(b"data: ")
    played = await play(api, Script([body], "application/json", status))
    assert played.error is not None
    assert told(played.billed[-1]) == (21, 40)


BREAKS: dict[str, list[Step]] = {
    "end": [],
    "lost": [ConnectionLostError("gone")],
    "silence": [FOREVER],
    "not json": [b'data: {"half\n\n'],
    "error": [sse({"error": {"message": "x"}})],
}


@every_api
@pytest.mark.parametrize("how", BREAKS)
async def test_usage_before_a_break_is_billed(api: str, how: str) -> None:
    played = await play(api, BEGUN[api], *BREAKS[how], timeouts=SOON_IDLE)
    assert played.error is not None
    assert [told(usage) for usage in played.billed] == [(21, 40)]


@every_api
async def test_each_attempt_is_billed_for_itself(api: str) -> None:
    silent = BEGUN[api].replace(b'"Hi"', b'""')
    whole = BEGUN[api]
    end = {
        "claude": sse({"type": "message_stop"}),
        "gemini": sse({"candidates": [{"finishReason": "STOP"}]}),
    }.get(api, sse("[DONE]"))
    scripts = [Script([silent]), Script([silent]), Script([whole, end])]
    played: Played = await play(api, *scripts)
    assert (played.text, played.requests) == ("Hi", 3)
    assert [told(usage) for usage in played.billed] == [(21, 40)] * 2
    assert told(played.end.usage) == (21, 40)


async def test_nothing_is_billed_where_nothing_was_counted() -> None:
    played = await play("openai", sse(chunk()))
    assert played.error is not None
    assert played.billed == []


async def test_a_count_from_before_the_text_is_at_least_what_was_seen() -> None:
    usage = {"prompt_tokens": 21, "completion_tokens": 0}
    played = await play("openai", sse(chunk(usage=usage), *[chunk()] * 4))
    assert played.error is not None
    assert guessed(played.billed[-1]) == (21, 5)


# --- before a cancellation ---


class Asked:
    """A stream that is silent after these steps."""

    def __init__(self, api: str, *steps: Step) -> None:
        self.billed: list[Usage] = []
        self.cut: list[Usage] = []
        self.transport = ScriptedTransport([Script([*steps, FOREVER])])
        client = ProviderClient(PATIENT, transport=self.transport)
        self.stream: AsyncGenerator[Event, None] = client.stream_chat(
            provider(api),
            [KEY],
            chat("m"),
            on_billed=self.billed.append,
            on_cut=self.cut.append,
        )

    async def read(self) -> None:
        async with aclosing(self.stream) as events:
            async for _ in events:
                pass

    async def cancel(self) -> None:
        """Cancel the task that reads, once it waits for more."""
        task = asyncio.create_task(self.read())
        await self.transport.waiting.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()


@every_api
async def test_usage_before_a_cancellation_is_told(api: str) -> None:
    asked = Asked(api, BEGUN[api])
    await asked.cancel()
    assert [told(usage) for usage in asked.cut] == [(21, 40)]
    assert asked.billed == []
    assert asked.transport.closed == 1


@every_api
async def test_usage_before_the_generator_is_closed_is_told_once(api: str) -> None:
    asked = Asked(api, BEGUN[api])
    await anext(asked.stream)  # the count comes after this text, or in a later event
    await asked.stream.aclose()
    await asked.stream.aclose()
    assert [told(usage) for usage in asked.cut] == [(21, 40)]


async def test_thoughts_that_were_counted_are_told_when_cancelled() -> None:
    usage = {"promptTokenCount": 21, "thoughtsTokenCount": 40}
    asked = Asked("gemini", sse({"usageMetadata": usage}))
    await asked.cancel()
    assert [told(usage) for usage in asked.cut] == [(21, 40)]
    assert asked.cut[0].reasoning_tokens == 40


async def test_claude_counts_the_input_before_it_says_a_word() -> None:
    asked = Asked("claude", BEGUN["claude"].split(b"\n\n")[0] + b"\n\n")
    await asked.cancel()
    assert [told(usage) for usage in asked.cut] == [(21, 0)]


async def test_a_cancellation_before_anything_was_counted_tells_nothing() -> None:
    asked = Asked("openai", sse(chunk()))
    await asked.cancel()
    assert asked.cut == []


async def test_an_attempt_that_failed_is_not_told_again_by_a_cancellation() -> None:
    asked = Asked("openai")
    silent = Script([BEGUN["openai"].replace(b'"Hi"', b'""')])
    asked.transport.scripts = [silent, Script([FOREVER])]
    await asked.cancel()
    assert [told(usage) for usage in asked.billed] == [(21, 40)]
    assert asked.cut == []


async def test_a_whole_answer_closed_at_its_end_is_not_told_besides() -> None:
    asked = Asked("openai", BEGUN["openai"], sse("[DONE]"))
    while not hasattr(await anext(asked.stream), "reason"):
        pass
    await asked.stream.aclose()
    assert asked.cut == []


# --- after the last count ---

SEEN = "Four" * 200  # estimated as two hundred tokens


def claude_begun(*deltas: dict[str, object]) -> bytes:
    start = {"type": "message_start", "message": {"usage": CLAUDE_USAGE}}
    return sse(start, *({"type": "content_block_delta", "delta": d} for d in deltas))


@pytest.mark.parametrize(
    "delta",
    [
        {"type": "text_delta", "text": SEEN},
        {"type": "thinking_delta", "thinking": SEEN},
    ],
    ids=["text", "thoughts"],
)
async def test_what_claude_has_not_counted_yet_is_guessed(
    delta: dict[str, object],
) -> None:
    played = await play("claude", claude_begun(delta), FOREVER, timeouts=SOON_IDLE)
    assert played.error is not None
    # At the start Claude counts only the input.
    assert guessed(played.billed[-1]) == (21, 200)


@pytest.mark.parametrize("api", ["openai", "deepseek", "gemini"])
async def test_a_count_that_comes_with_its_text_is_of_that_text(api: str) -> None:
    item = {
        "gemini": {
            "candidates": [{"content": {"parts": [{"text": SEEN}]}}],
            "usageMetadata": GEMINI_USAGE,
        }
    }.get(api, chunk(choice={"delta": {"content": SEEN}}, usage=OPENAI_USAGE))
    played = await play(api, sse(item), FOREVER, timeouts=SOON_IDLE)
    assert played.error is not None
    assert told(played.billed[-1]) == (21, 40)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_thoughts_that_nobody_counts_are_guessed(field: str) -> None:
    thought = sse({"choices": [{"index": 0, "delta": {field: SEEN}}]})
    played = await play("openai", thought, FOREVER, timeouts=SOON_IDLE)
    assert played.error is not None
    inputs, outputs = guessed(played.billed[-1])
    assert outputs == 200
    assert inputs


@pytest.mark.parametrize(
    ("text", "least"),
    [("word " * 100, 100), ("слово " * 100, 200), ("你好吗" * 100, 225)],
)
def test_a_guess_of_the_input_knows_scripts_with_more_tokens(
    text: str, least: int
) -> None:
    asked = replace(chat("m"), messages=(ChatMessage("user", text),))
    assert least <= estimate_input_tokens(asked) <= 2 * least
