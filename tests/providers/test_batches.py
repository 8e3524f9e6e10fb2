"""All text of one read is passed on together."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import orjson
import pytest

from llmchat.providers import openai
from llmchat.providers.client import ProviderClient
from llmchat.providers.errors import ProviderError
from llmchat.providers.reading import Reading
from llmchat.providers.types import Batch, Finished, Usage
from tests.emulator.driver import KEY, PATIENT, chat
from tests.support.provider_script import (
    FOREVER,
    Script,
    ScriptedTransport,
    Step,
    provider,
    sse,
)


def token(text: str, **more: object) -> dict[str, object]:
    return {"model": "m", "choices": [{"index": 0, "delta": {"content": text}}], **more}


END = sse({"choices": [{"delta": {}, "finish_reason": "stop"}]}, "[DONE]")


class Asked:
    """One question to a provider that answers with these steps."""

    def __init__(self, *steps: Step) -> None:
        self.transport = ScriptedTransport([Script(list(steps))])
        self.cut: list[Usage] = []
        self.stream = ProviderClient(
            PATIENT, transport=self.transport
        ).stream_chat_batches(
            provider("openai"), [KEY], chat("m"), on_cut=self.cut.append
        )

    async def read(self) -> list[Batch]:
        async with aclosing(self.stream) as batches:
            return [batch async for batch in batches]


async def test_each_read_is_one_batch() -> None:
    reads = [sse(token("a"), token("b")), sse(token("c")), sse(token("d")) + END]
    *batches, end = await Asked(*reads).read()
    assert batches == [["a", "b"], ["c"], ["d"]]
    assert isinstance(end, Finished)


async def test_a_read_without_text_is_no_batch() -> None:
    batches = await Asked(
        b": ping\n\n", sse(token("a"))[:20], sse(token("a"))[20:], END
    ).read()
    assert [type(batch) for batch in batches] == [list, Finished]


async def test_the_text_before_an_error_in_the_same_read_comes_first() -> None:
    asked = Asked(sse(token("a"), token("b"), {"error": {"message": "x"}}))
    assert await anext(asked.stream) == ["a", "b"]
    with pytest.raises(ProviderError):
        await anext(asked.stream)
    assert asked.transport.closed == 1
    assert len(asked.transport.requests) == 1


async def test_the_text_before_a_bug_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parse = openai.parse

    def broken(name: bytes, data: bytes, reading: Reading) -> str:
        if b'"b"' in data:
            raise KeyError("ours")
        return parse(name, data, reading)

    monkeypatch.setattr(openai, "parse", broken)
    asked = Asked(sse(token("a"), token("b")))
    assert await anext(asked.stream) == ["a"]
    with pytest.raises(KeyError, match="ours"):
        await anext(asked.stream)


async def test_what_was_counted_in_the_read_is_told_of_a_stream_that_is_closed() -> (
    None
):
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    asked = Asked(sse(token("a"), token("b", usage=usage)), FOREVER)
    await anext(asked.stream)
    await asked.stream.aclose()
    assert [(one.input_tokens, one.output_tokens) for one in asked.cut] == [(7, 3)]
    assert asked.transport.closed == 1


async def test_a_cancel_between_batches_closes_the_response() -> None:
    asked = Asked(sse(token("a")), FOREVER)
    task = asyncio.create_task(asked.read())
    await asked.transport.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asked.transport.closed == 1


# --- the fast path through a chunk gives the same as the slow one ---

CHUNKS: dict[str, object] = {
    "text": token("a"),
    "empty text": token(""),
    "role": {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "a"}}]},
    "no index": {"choices": [{"delta": {"content": "a"}}]},
    "null beside": token("a", usage=None, error=None, x_groq=None),
    "usage": token("a", usage={"prompt_tokens": 1, "completion_tokens": 2}),
    "groq": token("a", x_groq={"usage": {"prompt_tokens": 1}}),
    "error": token("a", error={"message": "x"}),
    "finish reason": {
        "choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]
    },
    "usage of the choice": {
        "choices": [{"delta": {"content": "a"}, "usage": {"prompt_tokens": 4}}]
    },
    "another candidate": {"choices": [{"index": 1, "delta": {"content": "a"}}]},
    "two candidates": {
        "choices": [
            {"index": 1, "delta": {"content": "b"}},
            {"index": 0, "delta": {"content": "a"}},
        ]
    },
    "thought": {"choices": [{"delta": {"content": None, "reasoning_content": "a"}}]},
    "text and thought": {"choices": [{"delta": {"content": "a", "reasoning": "b"}}]},
    "text and call": {
        "choices": [{"delta": {"content": "a", "tool_calls": [{"id": "c"}]}}]
    },
    "parts": {"choices": [{"delta": {"content": [{"type": "text", "text": "a"}]}}]},
    "refusal": {"choices": [{"delta": {"content": "", "refusal": "no"}}]},
    "no choices": {"choices": []},
    "null choices": {"choices": None},
    "choices of a word": {"choices": "a"},
    "choice of a word": {"choices": ["a"]},
    "delta of a word": {"choices": [{"delta": "a"}]},
    "no delta": {"choices": [{}]},
    "number": {"choices": [{"delta": {"content": 5}}]},
    "nothing": {},
}


@pytest.mark.parametrize("name", [b"", b"message", b"error"])
def test_a_chunk_says_the_same_by_both_ways(
    name: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {case: _read(name, case) for case in CHUNKS}
    monkeypatch.setattr(openai, "_bare_text", lambda chunk: "")
    assert {case: _read(name, case) for case in CHUNKS} == short


def _read(name: bytes, case: str) -> tuple[str, Reading]:
    reading = Reading(model="m", may_be_bare=True)
    try:
        text = openai.parse(name, orjson.dumps(CHUNKS[case]), reading)
    except ProviderError as error:
        text = repr(error)
    return text, reading
