"""Tool calls that providers answer with, whole or in pieces of any kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmchat.providers import calls
from llmchat.providers.decoder import Decoder
from llmchat.providers.errors import ProviderError
from llmchat.providers.reading import Reading
from llmchat.providers.registry import ADAPTERS
from llmchat.providers.types import Options, Protocol, ToolCall
from tests.emulator.api import event
from tests.emulator.driver import HASTY
from tests.support.clock import Passing, let_pass
from tests.support.provider_script import Played, Script, Step, play, sse

TOOLS = Options(tools=({"type": "function", "function": {"name": "weather"}},))
CITY = '{"city": "Ulm"}'


def delta(*pieces: object, **fields: object) -> dict[str, Any]:
    return {"choices": [{"delta": {"tool_calls": list(pieces), **fields}}]}


def piece(
    arguments: object = None, name: str | None = None, **fields: object
) -> dict[str, object]:
    function = {"name": name, "arguments": arguments}
    return fields | {"function": {k: v for k, v in function.items() if v is not None}}


def finish(reason: str = "tool_calls") -> dict[str, Any]:
    return {"model": "m", "choices": [{"delta": {}, "finish_reason": reason}]}


async def ask(api: str, *steps: Step | Script, **changes: Any) -> Played:
    return await play(api, *steps, options=TOOLS, **changes)


async def ask_openai(*chunks: object, reason: str = "tool_calls") -> Played:
    return await ask("openai", sse(*chunks, finish(reason), "[DONE]"))


def made(played: Played) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in played.end.tool_calls]


# --- OpenAI and its relatives ---


async def test_calls_come_in_pieces_with_an_index() -> None:
    played = await ask_openai(
        delta(piece("", "weather", index=0, id="a", type="function"), role="assistant"),
        delta(piece('{"city"', index=0)),
        delta(piece("", "now", index=1, id="b")),
        delta(piece(': "Ulm"}', index=0), piece("{}", index=1)),
    )
    assert played.end.tool_calls == (
        ToolCall("a", "weather", CITY),
        ToolCall("b", "now", "{}"),
    )
    assert (played.text, played.end.reason) == ("", "tool_calls")
    assert played.end.usage.output_tokens > 0


async def test_text_may_come_before_the_calls() -> None:
    text = {"model": "m", "choices": [{"delta": {"content": "Let me see."}}]}
    played = await ask_openai(text, delta(piece(CITY, "weather", index=0, id="a")))
    assert (played.text, made(played)) == ("Let me see.", [("weather", CITY)])


async def test_a_call_may_stand_beside_the_text() -> None:
    first = {"model": "m", "choices": [{"delta": {"content": "Let "}}]}
    beside = delta(piece(CITY, "weather", index=0, id="a"), content="me see.")
    played = await ask_openai(first, beside)
    assert (played.text, made(played)) == ("Let me see.", [("weather", CITY)])


TWO = [("weather", CITY), ("weather", "{}")]
WAYS: dict[str, list[object]] = {
    "whole in one chunk": [
        delta(
            piece(CITY, "weather", index=0, id="a"),
            piece("{}", "weather", index=1, id="b"),
        )
    ],
    "no index": [
        delta(piece(CITY, "weather", id="a")),
        delta(piece("{}", "weather", id="b")),
    ],
    "no index, in pieces": [
        delta(piece('{"city"', "weather", id="a")),
        delta(piece(': "Ulm"}')),
        delta(piece(None, "weather", id="b")),
        delta(piece("{}")),
    ],
    "no index, mixed": [
        delta(piece('{"city"', "weather", id="a"), piece("{", "weather", id="b")),
        delta(piece(': "Ulm"}', id="a"), piece("}", id="b")),
    ],
    "no index and no id": [
        delta(piece('{"city"', "weather")),
        delta(piece(': "Ulm"}', "weather")),
        delta(piece("{}", "weather")),
    ],
    "one index for all": [
        delta(piece(CITY, "weather", index=0, id="a")),
        delta(piece("{}", "weather", index=0, id="b")),
    ],
    "another id on each piece": [
        delta(piece('{"city"', "weather", index=0, id="a")),
        delta(piece(': "Ulm"}', index=0, id="b")),
        delta(piece("{}", "weather", index=1, id="c")),
    ],
    "one id for all": [
        delta(piece(CITY, "weather", index=0, id="a")),
        delta(piece("{}", "weather", index=1, id="a")),
    ],
    "arguments as objects": [
        delta(piece({"city": "Ulm"}, "weather", id="a")),
        delta(piece({}, "weather", id="b")),
    ],
    "the name again and again": [
        delta(piece('{"city"', "weather", index=0, id="a")),
        delta(piece(': "Ulm"}', "weather", index=0, id="a")),
        delta(piece(None, "weather", index=1, id="b")),
    ],
    "noise between": [
        delta(None, "x", 5, {}, {"index": True, "function": None, "id": ["x"]}),
        delta(piece(CITY, "weather", index=0, id="a")),
        {"choices": [{"delta": {"tool_calls": "none"}}]},
        delta(piece("", "weather", index=1), {"index": 1}),
    ],
}


@pytest.mark.parametrize("way", WAYS)
async def test_however_the_pieces_come_the_calls_are_the_same(way: str) -> None:
    played = await ask_openai(*WAYS[way])
    assert made(played) == TWO
    assert len({call.id for call in played.end.tool_calls}) == 2
    assert all(call.id for call in played.end.tool_calls)


@pytest.mark.parametrize("reason", ["tool_calls", "stop", "brand_new"])
async def test_whatever_the_reason_a_whole_answer_with_calls_has_them(
    reason: str,
) -> None:
    call = delta(piece(CITY, "weather", index=0, id="a"))
    played = await ask_openai(call, reason=reason)
    assert played.end.reason == "tool_calls"
    assert played.end.raw_reason == reason


async def test_an_old_servers_function_call_is_one() -> None:
    old = {"choices": [{"delta": {"function_call": {"name": "now"}}}]}
    played = await ask_openai(old, reason="function_call")
    assert made(played) == [("now", "{}")]


async def test_an_answer_in_one_piece_has_its_calls() -> None:
    call = piece(CITY, "weather", id="a", type="function")
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    whole = Script([json.dumps({"choices": [choice]}).encode()], "application/json")
    assert made(await ask("openai", whole)) == [("weather", CITY)]


# --- Claude ---


def claude(*events: dict[str, Any]) -> bytes:
    start = {"type": "message_start", "message": {"id": "m", "model": "c"}}
    return b"".join(event(item, item["type"]) for item in (start, *events))


def block(index: int | None, **fields: object) -> dict[str, Any]:
    content = {"type": "tool_use", **fields}
    return {"type": "content_block_start", "index": index, "content_block": content}


def part(index: int | None, text: object) -> dict[str, Any]:
    changed = {"type": "input_json_delta", "partial_json": text}
    return {"type": "content_block_delta", "index": index, "delta": changed}


def stop(reason: str = "tool_use") -> Sequence[dict[str, Any]]:
    last = {"type": "message_delta", "delta": {"stop_reason": reason}}
    return last, {"type": "message_stop"}


async def test_claude_calls_in_blocks() -> None:
    events = claude(
        block(1, id="a", name="weather", input={}),
        part(1, ""),
        part(1, '{"city"'),
        part(1, ': "Ulm"}'),
        {"type": "content_block_stop", "index": 1},
        block(2, id="b", name="now", input={}),
        {"type": "content_block_stop", "index": 2},
        *stop(),
    )
    played = await ask("claude", events)
    assert played.end.tool_calls == (
        ToolCall("a", "weather", CITY),
        ToolCall("b", "now", "{}"),
    )
    assert played.end.reason == "tool_calls"


async def test_an_input_may_stand_in_the_start_of_its_block() -> None:
    first = block(0, id="a", name="weather", input={"city": "Ulm"})
    second = block(1, id="b", name="weather", input={"city": "Ulm"})
    played = await ask("claude", claude(first, second, part(1, "{}"), *stop()))
    assert made(played) == TWO


async def test_input_of_other_blocks_belongs_to_no_call() -> None:
    other = {"type": "content_block_start", "index": 0, "content_block": {"type": "x"}}
    call = block(1, id="a", name="weather", input={})
    events = claude(other, part(0, "{}"), call, part(1, CITY), *stop())
    assert made(await ask("claude", events)) == [("weather", CITY)]


async def test_claudes_answer_in_one_piece_has_its_calls() -> None:
    content = [
        {"type": "text", "text": "So: "},
        {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Ulm"}},
        None,
    ]
    body = {"id": "m", "content": content, "stop_reason": "tool_use"}
    whole = Script([json.dumps(body).encode()], "application/json")
    played = await ask("claude", whole)
    assert (played.text, made(played)) == ("So: ", [("weather", CITY)])


# --- Gemini ---


def gemini(*parts: object, reason: str | None = None) -> dict[str, Any]:
    candidate = {"content": {"parts": list(parts)}, "finishReason": reason}
    return {"candidates": [candidate], "modelVersion": "g"}


async def test_gemini_calls_in_whole_parts_with_or_without_an_id() -> None:
    city = {"name": "weather", "args": {"city": "Ulm"}}
    played = await ask(
        "gemini",
        sse(
            gemini({"text": "So: "}, {"functionCall": city, "thoughtSignature": "x"}),
            gemini({"functionCall": {"name": "weather", "id": "b"}}, reason="STOP"),
        ),
    )
    assert (played.text, made(played)) == ("So: ", TWO)
    first, second = played.end.tool_calls
    assert first.id.startswith("call_")
    assert second.id == "b"
    assert played.end.reason == "tool_calls"


async def test_a_malformed_call_of_geminis_is_asked_for_again() -> None:
    failed = Script([sse(gemini(reason="MALFORMED_FUNCTION_CALL"))])
    call = {"functionCall": {"name": "now"}}
    played = await ask("gemini", failed, Script([sse(gemini(call, reason="STOP"))]))
    assert (made(played), played.requests) == ([("now", "{}")], 2)


# --- What is not a call, or not a complete one ---

CALLS: dict[str, bytes] = {
    "openai": sse(delta(piece(CITY, "weather", index=0, id="a"))),
    "claude": claude(block(0, id="a", name="weather"), part(0, CITY)),
    "gemini": sse(gemini({"functionCall": {"name": "weather"}})),
}
ENDS: dict[str, dict[str, bytes]] = {
    "openai": {
        "length": sse(finish("length")),
        "filter": sse(finish("content_filter")),
        "tools": sse(finish()),
    },
    "claude": {
        "length": claude(*stop("max_tokens")),
        "filter": claude(*stop("refusal")),
        "tools": claude(*stop()),
    },
    "gemini": {
        "length": sse(gemini(reason="MAX_TOKENS")),
        "filter": sse(gemini(reason="SAFETY")),
        "tools": sse(gemini(reason="STOP")),
    },
}
apis = pytest.mark.parametrize("api", CALLS)


@apis
async def test_an_answer_that_was_cut_has_no_calls(api: str) -> None:
    played = await ask(api, CALLS[api])
    assert (played.code, played.finished) == ("provider_error", None)
    assert played.requests == 3, "nothing was told of it, so it is asked for again"


@apis
@pytest.mark.parametrize(
    ("end", "code"), [("length", "empty_answer"), ("filter", "content_filtered")]
)
async def test_an_answer_at_its_limit_has_no_calls(
    api: str, end: str, code: str
) -> None:
    played = await ask(api, CALLS[api] + ENDS[api][end])
    assert (played.code, played.requests) == (code, 1)


@apis
async def test_who_was_given_no_tools_calls_none(api: str) -> None:
    played = await play(api, CALLS[api] + ENDS[api]["tools"])
    assert played.finished is None
    assert played.code in ("provider_error", "empty_answer")


@apis
async def test_pieces_of_calls_are_progress(api: str) -> None:
    timeouts = replace(HASTY, first_token_s=0.5, idle_s=2.0, total_s=30.0)
    steps: list[Step] = [CALLS[api], Passing(0.8), ENDS[api]["tools"]]
    await let_pass(0)  # from here on, time passes only where the script says so
    assert (await ask(api, *steps, timeouts=timeouts)).end.reason == "tool_calls"


async def test_half_a_call_is_no_whole_answer_without_a_reason() -> None:
    half, rest = CITY[:6], CITY[6:]
    pieces = [delta(piece(half, "weather", index=0, id="a")), delta(piece(rest))]

    cut = await ask("openai", sse(pieces[0], "[DONE]"))
    whole = await ask("openai", sse(*pieces, "[DONE]"))

    assert (cut.code, cut.finished) == ("provider_error", None)
    assert made(whole) == [("weather", CITY)]


async def test_a_call_without_a_name_fails_the_answer() -> None:
    played = await ask_openai(delta(piece("{}", index=0, id="a")))
    assert (played.code, played.requests) == ("provider_error", 3)


async def test_more_calls_than_the_limit_fail_the_answer() -> None:
    many = [piece("{}", "now", index=n) for n in range(calls.MAX_CALLS + 1)]
    assert len((await ask_openai(delta(*many[:-1]))).end.tool_calls) == calls.MAX_CALLS
    assert (await ask_openai(delta(*many))).code == "provider_error"


async def test_calls_larger_than_the_limit_fail_the_answer() -> None:
    text = "x" * (calls.MAX_CHARS // 4)
    pieces = [delta(piece(text, "now", index=0)) for _ in range(4)]
    assert (await ask_openai(*pieces[:-1])).finished is not None
    assert (await ask_openai(*pieces)).code == "provider_error"


@pytest.mark.parametrize("end", ["word ", "}"], ids=["open", "closed"])
def test_a_piece_with_a_name_does_not_read_all_that_came_before_it(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[int] = []
    read = calls._Parts.arguments.fget

    def arguments(parts: calls._Parts) -> str:
        joined.append(len(parts.pieces))
        return str(read(parts))

    monkeypatch.setattr(calls._Parts, "arguments", property(arguments))
    parts = calls.CallParts()
    for piece in ['{"text": "', *[end] * 1000, '"}']:
        parts.add(name="write", arguments=piece)

    (call,) = parts.whole()
    assert call.arguments == '{"text": "' + end * 1000 + '"}'
    assert sum(joined) < 4000


@pytest.mark.parametrize("depth", [900, 980, 1000, 1015])
async def test_a_call_that_is_nested_deeply_is_taken_or_fails(depth: int) -> None:
    nested = '{"a":' * depth + "1" + "}" * depth
    chunk = '{"choices": [{"delta": {"tool_calls": [{"function": {"name": "x", '
    event = f'{chunk}"arguments": {nested}}}}}]}}}}]}}'
    played = await ask("openai", sse(event, finish(), "[DONE]"))
    assert played.error is None or played.code in ("provider_error", "empty_answer")


async def test_half_a_surrogate_in_a_call_is_replaced() -> None:
    half = delta(piece('{"a": "\ud83d', "now\ud800", index=0, id="\udc00"))
    (call,) = (await ask_openai(half, delta(piece('\ude00"}', index=0)))).end.tool_calls
    assert call == ToolCall("\ufffd", "now\ufffd", '{"a": "😀"}')


def garbled(item: Any) -> dict[str, Any]:
    """Return the start of a call, or a piece of one, with garbage in it."""
    if isinstance(item, dict):
        content = {"type": "tool_use", "input": item.get("arguments"), **item}
        return block(0) | {"content_block": content, "index": item.get("index")}
    return part(0, item)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.just("{}"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["index", "id", "name", "arguments", "function", "args"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(api=st.sampled_from(sorted(CALLS)), garbage=st.lists(JSON, max_size=4))
def test_garbage_for_calls_is_survived_or_a_providers_error(
    api: Protocol, garbage: list[Any]
) -> None:
    events = {
        "openai": lambda: sse(*(delta(item) for item in garbage), finish()),
        "claude": lambda: claude(*map(garbled, garbage), *stop()),
        "gemini": lambda: sse(
            gemini(*({"functionCall": item} for item in garbage), reason="STOP")
        ),
    }[api]()
    reading = Reading(has_tools=True)
    decoder = Decoder(ADAPTERS[api], reading, "text/event-stream")
    try:
        decoder.receive(events, [])
        made = reading.calls.whole()
    except ProviderError:
        return
    assert all(call.id and call.name and call.arguments for call in made)
