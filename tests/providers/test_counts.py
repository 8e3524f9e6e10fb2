"""Four disjoint counts, however a provider counts."""

from __future__ import annotations

import json
from contextlib import aclosing
from dataclasses import replace

import pytest

from llmchat.providers.types import Delta, Usage
from tests.emulator.application import APIS
from tests.emulator.counts import SHAPES, Shape
from tests.emulator.driver import KEY, PATIENT, Lab, chat
from tests.emulator.scenarios import SHORT
from tests.support.provider_script import Script, play, sse

every_shape = pytest.mark.parametrize("name", SHAPES)


def told(usage: Usage) -> tuple[int, tuple[int, int, int], int, int]:
    """Return the counts, and check that they are disjoint and none is negative."""
    assert usage.input_tokens is not None
    reads, writes = usage.cache_read_tokens, usage.cache_write_tokens
    assert usage.uncached_tokens + reads + writes == usage.input_tokens
    assert min(usage.uncached_tokens, reads, writes, usage.output_tokens) >= 0
    assert usage.cache_write_long_tokens <= writes
    assert usage.reasoning_tokens <= usage.output_tokens
    assert not usage.is_free
    cached = (reads, writes, usage.cache_write_long_tokens)
    return usage.input_tokens, cached, usage.output_tokens, usage.reasoning_tokens


def expected(shape: Shape) -> tuple[int, tuple[int, int, int], int, int]:
    return shape.inputs, shape.cached, shape.outputs, shape.thoughts


def check_cut(shape: Shape, usage: Usage) -> None:
    """Compare with what is known after the text; Claude has no output by then."""
    if shape.api == "claude":
        assert told(usage) == (shape.inputs, shape.cached, len(SHORT.pieces), 0)
        return
    assert told(usage) == expected(shape)
    assert usage.source == ("provider" if shape.is_whole else "estimated")


@every_shape
async def test_a_whole_answer_is_counted_as_its_provider_means_it(
    setting: Lab, name: str
) -> None:
    shape = SHAPES[name]
    outcome = await setting.ask(shape.api, f"counted-{name}")
    assert outcome.finished is not None, outcome.error
    assert outcome.text == SHORT.text
    assert told(outcome.finished.usage) == expected(shape)
    source = "provider" if shape.is_whole else "estimated"
    assert outcome.finished.usage.source == source


@every_shape
async def test_an_answer_in_one_piece_is_counted_alike(name: str) -> None:
    shape = SHAPES[name]
    body = APIS[shape.api].whole(replace(SHORT, counts=shape.usage))
    script = Script([json.dumps(body).encode()], "application/json")
    played = await play(shape.api, script)
    if shape.is_whole:
        assert told(played.end.usage) == expected(shape)
    else:
        # The text is one piece here, so its share of the total is estimated otherwise.
        assert told(played.end.usage)[0] + played.end.usage.output_tokens == 25


@every_shape
async def test_what_was_counted_before_a_break_is_kept(setting: Lab, name: str) -> None:
    shape = SHAPES[name]
    outcome = await setting.ask(shape.api, f"broken-{name}")
    assert outcome.code == "provider_error"
    (usage,) = outcome.billed
    check_cut(shape, usage)


@every_shape
async def test_what_was_counted_before_a_cancellation_is_kept(
    setting: Lab, name: str
) -> None:
    shape = SHAPES[name]
    cut: list[Usage] = []
    stream = setting.client.stream_chat(
        setting.provider(shape.api),
        [KEY],
        chat(f"scenario-silent-{name}"),
        timeouts=PATIENT,
        on_cut=cut.append,
    )
    text = ""
    async with aclosing(stream):
        while text != SHORT.text:
            piece = await anext(stream)
            assert isinstance(piece, Delta)
            text += piece.text
    (usage,) = cut
    check_cut(shape, usage)


async def test_a_count_of_no_input_is_kept_at_its_word() -> None:
    usage = {"prompt_tokens": 0, "completion_tokens": 4}
    choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}
    played = await play("openai", sse({"choices": [choice], "usage": usage}, "[DONE]"))
    assert played.end.usage.input_tokens == 0


async def test_a_later_count_takes_the_place_of_an_earlier_one() -> None:
    """So does an explicit zero: the part was counted wrongly at first."""
    first = {"prompt_tokens": 21, "prompt_tokens_details": {"cached_tokens": 16}}
    last = {
        "prompt_tokens": 30,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}
    chunks = [{"choices": [choice], "usage": first}, {"choices": [], "usage": last}]
    usage = (await play("openai", sse(*chunks, "[DONE]"))).end.usage
    assert (usage.input_tokens, usage.cache_read_tokens) == (30, 0)


# --- sums ---


def test_the_counts_of_attempts_are_added_part_by_part() -> None:
    first = Usage(21, 64, "provider", 60, 16, 3, 2)
    second = Usage(10, 4, "provider", 1, 2, 3, 1)
    assert first + second == Usage(31, 68, "provider", 61, 18, 6, 3)


def test_what_is_free_does_not_count_beside_what_is_billed() -> None:
    billed, free = Usage(21, 4, "provider"), Usage(50, 0, "provider", is_free=True)
    assert billed + free == free + billed == billed
    assert (free + free).is_free


def test_what_came_of_one_attempt_came_of_all() -> None:
    silent, thoughtful = (Usage(1, 0, "provider", has_output=b) for b in (False, True))
    assert (silent + thoughtful).has_output
    assert not (silent + silent).has_output


# --- refusals ---

REFUSAL = {**SHAPES["claude-cached"].usage, "output_tokens": 0}


@pytest.mark.parametrize("is_stream", [True, False], ids=["stream", "whole"])
async def test_a_refusal_of_claudes_without_a_word_is_counted_and_free(
    is_stream: bool,
) -> None:
    story = replace(SHORT, pieces=(), finish="filter", counts=REFUSAL)
    if is_stream:
        played = await play("claude", *APIS["claude"].events(story))
    else:
        body = json.dumps(APIS["claude"].whole(story)).encode()
        played = await play("claude", Script([body], "application/json"))
    assert played.code == "content_filtered"
    assert played.error is not None
    (usage,) = played.billed
    assert usage.is_free
    assert (usage.input_tokens, usage.cache_read_tokens) == (21, 16)
    assert usage.source == "provider"


@pytest.mark.parametrize(
    "said", [{"pieces": ("I",)}, {"reasoning": ("hm",)}], ids=["text", "thoughts"]
)
async def test_a_refusal_of_claudes_behind_an_output_is_billed(
    said: dict[str, tuple[str, ...]],
) -> None:
    told = {"pieces": (), **said}
    story = replace(SHORT, finish="filter", counts=REFUSAL, **told)  # type: ignore[arg-type]
    played = await play("claude", *APIS["claude"].events(story))
    usage = played.end.usage if played.finished else played.billed[0]
    assert usage.input_tokens == 21
    assert not usage.is_free


async def test_a_refusal_of_claudes_behind_hidden_thoughts_is_billed() -> None:
    """Its newest models do not say which of the tokens were thoughts."""
    usage = {"input_tokens": 50_000, "output_tokens": 1}
    stop = {"type": "message_delta", "delta": {"stop_reason": "refusal"}}
    events: list[dict[str, object]] = [
        {"type": "message_start", "message": {"id": "m", "usage": usage}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "signature_delta", "signature": "c2ln"},
        },
        {"type": "content_block_stop", "index": 0},
        {**stop, "usage": {"output_tokens": 2_003}},
        {"type": "message_stop"},
    ]
    (billed,) = (await play("claude", sse(*events))).billed
    assert billed == Usage(50_000, 2_003, "provider")
    assert billed.has_output
    (billed,) = (await play("claude", sse(events[0], *events[4:]))).billed
    assert (billed.is_free, billed.has_output) == (True, False)


@pytest.mark.parametrize("api", ["openai", "deepseek", "gemini"])
async def test_others_bill_what_they_filter(api: str) -> None:
    story = replace(SHORT, pieces=(), finish="filter")
    played = await play(api, *APIS[api].events(story))
    assert played.code == "content_filtered"
    assert [usage.is_free for usage in played.billed] == [False]
