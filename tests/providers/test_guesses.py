"""What no provider has counted is estimated alike, however the answer ends."""

from __future__ import annotations

import json

import pytest

from llmchat.providers.types import Options, Usage
from tests.emulator.driver import SOON_IDLE
from tests.support.provider_script import FOREVER, Script, play, sse

TOOLS = Options(tools=({"type": "function", "function": {"name": "look"}},))


def chunk(finish: str | None = None, **delta: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def outputs(usage: Usage | None) -> int:
    assert usage is not None
    assert usage.source == "estimated"
    assert usage.input_tokens
    return usage.output_tokens


async def test_thoughts_count_in_a_whole_answer_too() -> None:
    thought, said = chunk(reasoning_content="x" * 400), chunk("stop", content="Hi")
    whole = await play("openai", sse(thought, said, "[DONE]"))
    assert outputs(whole.end.usage) == 101


async def test_an_answer_in_one_piece_is_not_one_token() -> None:
    message = {"role": "assistant", "content": "x" * 400}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice]}).encode()
    whole = await play("openai", Script([body], "application/json"))
    assert outputs(whole.end.usage) == 100


async def test_pieces_that_are_tokens_count_one_each() -> None:
    said = [chunk(content="a") for _ in range(30)]
    whole = await play("openai", sse(*said, chunk("stop"), "[DONE]"))
    assert outputs(whole.end.usage) == 30


async def test_no_output_beside_text_is_no_count() -> None:
    early = {"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 21}
    first = chunk(content="x" * 400) | {"usage": early}
    whole = await play("openai", sse(first, chunk("stop"), "[DONE]"))
    assert outputs(whole.end.usage) == 100
    assert whole.end.usage.input_tokens == 21


PLACEHOLDERS: list[dict[str, object]] = [
    {"total_tokens": 0, "total_characters": 0},  # MiniMax, on every chunk
    {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    {"prompt_tokens": 0, "completion_tokens": 0, "total_time": 3.5},
    {
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
]
LONG = [chunk(content="word " * 50)] * 20  # estimated as 1,250 tokens


@pytest.mark.parametrize("usage", PLACEHOLDERS, ids=str)
async def test_nothing_but_zeros_is_no_count(usage: dict[str, object]) -> None:
    said = [item | {"usage": usage} for item in LONG]
    whole = await play("openai", sse(*said, chunk("stop"), "[DONE]"))
    assert outputs(whole.end.usage) == 1_250
    cut = await play("openai", sse(*said), FOREVER, timeouts=SOON_IDLE)
    assert cut.error is not None
    assert cut.billed == []  # the caller estimates all of it


NO_OUTPUTS: list[dict[str, object]] = [
    {"prompt_tokens": 21, "completion_tokens": 0},
    {"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 21},
    {"input_tokens": 21, "output_tokens": 0},
    {
        "prompt_tokens": 21,
        "completion_tokens": 0,
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
]


@pytest.mark.parametrize("usage", PLACEHOLDERS + NO_OUTPUTS, ids=str)
async def test_zeros_take_back_no_count(usage: dict[str, object]) -> None:
    thoughts = {"completion_tokens_details": {"reasoning_tokens": 300}}
    counted = {"prompt_tokens": 21, "completion_tokens": 400, **thoughts}
    said = [
        chunk("stop", content="Hi") | {"usage": counted},
        chunk() | {"usage": usage},
    ]
    told = (await play("openai", sse(*said, "[DONE]"))).end.usage
    assert told == Usage(21, 400, "provider", reasoning_tokens=300)


async def test_no_output_beside_text_is_no_count_of_a_broken_answer_either() -> None:
    early = {"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 21}
    said = [item | {"usage": early} for item in LONG]
    cut = await play("openai", sse(*said), FOREVER, timeouts=SOON_IDLE)
    assert cut.error is not None
    (billed,) = cut.billed
    assert outputs(billed) == 1_250
    assert billed.input_tokens == 21


async def test_no_output_beside_thoughts_or_calls_is_no_count() -> None:
    early = {"usage": {"prompt_tokens": 21, "completion_tokens": 0}}
    thought = chunk(reasoning_content="x" * 400) | early
    call = {"id": "c1", "function": {"name": "look", "arguments": "x" * 394}}
    for said in (thought, chunk(tool_calls=[call]) | early):
        cut = await play(
            "openai", sse(said), FOREVER, timeouts=SOON_IDLE, options=TOOLS
        )
        assert cut.error is not None
        assert list(map(outputs, cut.billed)) == [100]


async def test_claude_s_relatives_count_nothing_at_their_beginning() -> None:
    nothing = {"input_tokens": 0, "output_tokens": 0}
    delta = {"type": "text_delta", "text": "word " * 50}
    said = [{"type": "content_block_delta", "delta": delta}] * 20
    start = {"type": "message_start", "message": {"usage": nothing}}
    cut = await play("claude", sse(start, *said), FOREVER, timeouts=SOON_IDLE)
    assert cut.error is not None
    assert cut.billed == []


@pytest.mark.parametrize(
    "usage", [{"completion_tokens": 40}, {"completion_tokens": 40, "total_tokens": 40}]
)
async def test_an_input_that_is_not_counted_is_guessed(usage: dict[str, int]) -> None:
    said = chunk("stop", content="Hi") | {"usage": usage}
    whole = await play("openai", sse(said, "[DONE]"))
    assert outputs(whole.end.usage) == 40
    cut = await play("openai", sse(said | {"choices": chunk(content="Hi")["choices"]}))
    assert cut.error is not None
    assert list(map(outputs, cut.billed)) == [40]


async def test_reasoning_that_the_total_has_beside_the_output_is_no_cache() -> None:
    """That holds even if the same number of tokens was read from a cache."""
    usage = {
        "prompt_tokens": 1_000,
        "completion_tokens": 10,
        "total_tokens": 1_074,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 64},
    }
    said = chunk("stop", content="Hi") | {"usage": usage}
    told = (await play("openai", sse(said, "[DONE]"))).end.usage
    assert (told.input_tokens, told.output_tokens) == (1_000, 74)
    assert (told.cache_read_tokens, told.reasoning_tokens) == (64, 64)


async def test_a_tool_call_that_breaks_off_is_billed() -> None:
    call = {
        "index": 0,
        "id": "c1",
        "function": {"name": "look", "arguments": "x" * 394},
    }
    begun = sse(chunk(tool_calls=[call]))
    played = await play("openai", begun, FOREVER, timeouts=SOON_IDLE, options=TOOLS)
    assert played.error is not None
    assert outputs(played.billed[-1]) == 100


async def test_a_tool_call_behind_the_count_is_guessed_beside_it() -> None:
    block = {"type": "tool_use", "id": "c1", "name": "look", "input": {}}
    piece = {"type": "input_json_delta", "partial_json": "x" * 394}
    begun = sse(
        {"type": "message_start", "message": {"usage": {"input_tokens": 50_000}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": piece},
    )
    played = await play("claude", begun, FOREVER, timeouts=SOON_IDLE, options=TOOLS)
    assert played.error is not None
    assert outputs(played.billed[-1]) == 100
    assert played.billed[-1].input_tokens == 50_000


@pytest.mark.parametrize(
    ("usage", "inputs", "reads", "writes"),
    [
        # More tokens than the input has cannot be part of it.
        ({"prompt_tokens": 20, "cache_read_input_tokens": 900}, 920, 900, 0),
        # The total includes all of them.
        (
            {
                "prompt_tokens": 1_000,
                "completion_tokens": 4,
                "total_tokens": 1_504,
                "cache_read_input_tokens": 300,
                "cache_creation_input_tokens": 200,
            },
            1_500,
            300,
            200,
        ),
        # A total that includes only one of them says nothing about the output.
        (
            {
                "prompt_tokens": 1_000,
                "completion_tokens": 4,
                "total_tokens": 1_304,
                "cache_read_input_tokens": 300,
                "cache_creation_input_tokens": 200,
            },
            1_000,
            300,
            200,
        ),
        # As OpenAI counts.
        (
            {
                "prompt_tokens": 1_000,
                "completion_tokens": 4,
                "total_tokens": 1_004,
                "prompt_tokens_details": {"cached_tokens": 300},
            },
            1_000,
            300,
            0,
        ),
    ],
)
async def test_a_gateway_may_count_the_cache_beside_the_prompt(
    usage: dict[str, object], inputs: int, reads: int, writes: int
) -> None:
    last = chunk("stop", content="Hi") | {"usage": {"completion_tokens": 4} | usage}
    counted = (await play("openai", sse(last, "[DONE]"))).end.usage
    assert counted.source == "provider"
    assert (counted.input_tokens, counted.output_tokens) == (inputs, 4)
    assert (counted.cache_read_tokens, counted.cache_write_tokens) == (reads, writes)
    assert counted.uncached_tokens == inputs - reads - writes
