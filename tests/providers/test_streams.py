"""Adapters on whole streams, without a network: every cut, every early end."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from llmchat.providers.answer import conclude
from llmchat.providers.decoder import Decoder
from llmchat.providers.errors import ProviderError
from llmchat.providers.reading import Reading
from llmchat.providers.registry import ADAPTERS
from llmchat.providers.types import Finished
from tests.emulator.api import Story
from tests.emulator.application import APIS
from tests.emulator.driver import chat
from tests.emulator.response import EVENT_STREAM
from tests.emulator.scenarios import SHORT, THOUGHTFUL

UNICODE = Story(("a\u2028é", "😀\x85 end"))


def read(api: str, *chunks: bytes) -> tuple[str, Finished]:
    """Decode a stream in these pieces, and return its text and its end."""
    reading = Reading()
    decoder = Decoder(ADAPTERS[api], reading, EVENT_STREAM)  # type: ignore[index]
    deltas: list[str] = []
    for chunk in chunks:
        decoder.receive(chunk, deltas)
    decoder.receive_end(deltas)
    return text_of(deltas), conclude(reading, chat("m"))


def text_of(deltas: list[str]) -> str:
    return "".join(deltas)


@pytest.mark.parametrize("story", [SHORT, THOUGHTFUL, UNICODE])
@pytest.mark.parametrize("api", APIS)
def test_a_stream_cut_at_every_byte_says_the_same(api: str, story: Story) -> None:
    stream = b"".join(APIS[api].events(story))
    whole = read(api, stream)
    assert whole[0] == story.text
    for cut in range(1, len(stream)):
        assert read(api, stream[:cut], stream[cut:]) == whole


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("api", APIS)
def test_a_stream_in_small_pieces_says_the_same(api: str, size: int) -> None:
    stream = b"".join(APIS[api].events(UNICODE))
    pieces = [stream[n : n + size] for n in range(0, len(stream), size)]
    assert read(api, *pieces) == read(api, stream)


# How many of the last events may be missing while the answer still counts as complete.
WHOLE_BEFORE_END = {"openai": 2, "deepseek": 1, "claude": 1, "gemini": 0}


@pytest.mark.parametrize("api", APIS)
def test_a_stream_ended_after_every_event_is_whole_only_at_its_end(api: str) -> None:
    events = APIS[api].events(THOUGHTFUL)
    for count in range(len(events) + 1):
        stream = b"".join(events[:count])
        if count >= len(events) - WHOLE_BEFORE_END[api]:
            assert read(api, stream)[0] == THOUGHTFUL.text
        else:
            with pytest.raises(ProviderError) as caught:
                read(api, stream)
            assert caught.value.code == "provider_error"
            assert caught.value.retryable


@pytest.mark.parametrize("api", APIS)
def test_a_stream_ended_at_every_byte_never_shows_wrong_text(api: str) -> None:
    stream = b"".join(APIS[api].events(SHORT))
    for cut in range(len(stream)):
        reading = Reading()
        deltas: list[str] = []
        decoder = Decoder(ADAPTERS[api], reading, EVENT_STREAM)  # type: ignore[index]
        with suppress(ProviderError):  # half an event
            decoder.receive(stream[:cut], deltas)
            decoder.receive_end(deltas)
        assert SHORT.text.startswith(text_of(deltas))
        if reading.is_complete:
            assert text_of(deltas) == SHORT.text


@pytest.mark.parametrize("api", APIS)
def test_reasoning_is_counted_and_not_shown(api: str) -> None:
    text, finished = read(api, b"".join(APIS[api].events(THOUGHTFUL)))
    assert text == THOUGHTFUL.text
    assert finished.usage.reasoning_tokens == 2
    assert finished.usage.output_tokens == 6


@pytest.mark.parametrize("usage", ["usual", "finish", "every"])
@pytest.mark.parametrize("api", APIS)
def test_usage_is_the_providers_wherever_it_stands(api: str, usage: str) -> None:
    story = Story(usage=usage)  # type: ignore[arg-type]
    _, finished = read(api, b"".join(APIS[api].events(story)))
    assert finished.usage.source == "provider"
    assert finished.usage.output_tokens == 4
    assert finished.usage.input_tokens == (11 if api == "gemini" else 21)
    assert finished.usage.cache_read_tokens == (4 if api == "gemini" else 3)


@pytest.mark.parametrize("api", APIS)
def test_usage_is_estimated_where_there_is_none(api: str) -> None:
    story = Story(usage="none")
    _, finished = read(api, b"".join(APIS[api].events(story)))
    assert finished.usage.source == "estimated"
    assert finished.usage.output_tokens == len(story.pieces)
    assert finished.usage.input_tokens


@pytest.mark.parametrize("api", APIS)
def test_the_model_that_answered_is_told(api: str) -> None:
    _, finished = read(api, b"".join(APIS[api].events(SHORT)))
    assert finished.model == f"{api}-snapshot"


@pytest.mark.parametrize(
    ("told", "model"),
    [
        (b"models/gemini-2", "gemini-2"),
        (b"tunedModels/mine", "tunedModels/mine"),
        (b"maker/models/x", "maker/models/x"),
        (b"models/", "models/"),
    ],
)
def test_gemini_s_model_is_told_by_its_plain_name(told: bytes, model: str) -> None:
    """Its row and its prices have that name; some gateways put a prefix before it."""
    events = b"".join(APIS["gemini"].events(SHORT))
    _, finished = read("gemini", events.replace(b"gemini-snapshot", told))
    assert finished.model == model


@pytest.mark.parametrize(
    "data", [b"null", b"1", b'"text"', b"[]", b"[1,2]", b"{}", b'{"choices":1}']
)
@pytest.mark.parametrize("api", APIS)
def test_an_event_of_a_wrong_shape_is_an_error_or_nothing(
    api: str, data: bytes
) -> None:
    adapter = ADAPTERS[api]  # type: ignore[index]
    with suppress(ProviderError):
        assert adapter.parse(b"", data, Reading()) == ""


WRONG = [None, 1, "x", [], {}, [None], [1], {"a": 1}, [{}], True, [[]]]


def parsed(api: str, data: bytes) -> object:
    """Return the text of an event, or what is raised."""
    try:
        return ADAPTERS[api].parse(b"", data, Reading())  # type: ignore[index]
    except Exception as exc:
        return exc


@pytest.mark.parametrize(
    ("api", "template"),
    [
        ("openai", {"choices": "*"}),
        ("openai", {"choices": [{"delta": "*", "finish_reason": None}]}),
        ("openai", {"choices": [{"delta": {"content": "*"}, "finish_reason": "*"}]}),
        ("openai", {"choices": [], "usage": "*", "model": "*"}),
        ("openai", {"choices": [], "usage": {"prompt_tokens_details": "*"}}),
        ("claude", {"type": "message_start", "message": "*"}),
        ("claude", {"type": "message_start", "message": {"usage": "*", "id": "*"}}),
        ("claude", {"type": "content_block_start", "content_block": "*"}),
        ("claude", {"type": "content_block_delta", "delta": "*"}),
        ("claude", {"type": "message_delta", "delta": "*", "usage": "*"}),
        ("claude", {"type": "message_delta", "usage": {"output_tokens": "*"}}),
        ("gemini", {"candidates": "*", "promptFeedback": "*"}),
        ("gemini", {"candidates": [{"content": "*", "finishReason": "*"}]}),
        ("gemini", {"candidates": [{"content": {"parts": "*"}}]}),
        ("gemini", {"candidates": [{"content": {"parts": [{"text": "*"}]}}]}),
        ("gemini", {"usageMetadata": "*", "modelVersion": "*"}),
    ],
)
def test_a_field_of_a_wrong_type_breaks_nothing(api: str, template: object) -> None:
    text = json.dumps(template)
    values = [json.dumps(value) for value in WRONG]
    events = {value: text.replace('"*"', value).encode() for value in values}
    seen = {value: parsed(api, event) for value, event in events.items()}
    assert {value: it for value, it in seen.items() if not isinstance(it, str)} == {}
