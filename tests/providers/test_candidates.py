"""Only the first candidate is the answer, wherever it is in the list."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest

from tests.support.provider_script import Script, play, sse

Candidate = dict[str, object]


def choice(text: str, index: object = None, finish: str | None = None) -> Candidate:
    found: Candidate = {"delta": {"content": text}, "message": {"content": text}}
    return _placed(found, index) | ({"finish_reason": finish} if finish else {})


def candidate(text: str, index: object = None, finish: str | None = None) -> Candidate:
    found: Candidate = {"content": {"parts": [{"text": text}]}}
    reasons = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
    return _placed(found, index) | ({"finishReason": reasons[finish]} if finish else {})


def _placed(found: Candidate, index: object) -> Candidate:
    return found if index is None else {"index": index, **found}


KINDS: Mapping[str, tuple[str, Callable[..., Candidate]]] = {
    "openai": ("choices", choice),
    "deepseek": ("choices", choice),
    "gemini": ("candidates", candidate),
}
formats = pytest.mark.parametrize("api", KINDS)


def stream(api: str, *events: list[Candidate]) -> bytes:
    name = KINDS[api][0]
    return sse(*({name: list(event)} for event in events))


@formats
async def test_others_beside_it_are_skipped(api: str) -> None:
    make = KINDS[api][1]
    events = [
        [make("A", 0), make("x", 1)],
        [make("y", 1), make("B", 0)],
        [make("C", 0, "stop"), make("z", 1, "length")],
    ]
    played = await play(api, stream(api, *events))
    assert (played.text, played.end.reason) == ("ABC", "stop")


@formats
async def test_others_in_events_of_their_own_are_skipped(api: str) -> None:
    make = KINDS[api][1]
    events = [
        [make("x", 1)],
        [make("A", 0)],
        [make("y", 2)],
        [make("B", 0, "length")],
        [make("z", 1, "content_filter")],
    ]
    played = await play(api, stream(api, *events))
    assert (played.text, played.end.reason) == ("AB", "length")


@formats
async def test_the_end_of_another_is_not_its_end(api: str) -> None:
    make = KINDS[api][1]
    events = [[make("A", 0)], [make("x", 1, "stop")]]
    played = await play(api, stream(api, *events))
    assert (played.text, played.code) == ("A", "provider_error")


@formats
async def test_text_of_another_is_no_answer(api: str) -> None:
    make = KINDS[api][1]
    events = [[make("x", 1)], [make("", 0, "stop"), make("y", 1, "stop")]]
    played = await play(api, stream(api, *events))
    assert (played.text, played.code) == ("", "empty_answer")


@formats
@pytest.mark.parametrize("index", [None, 0])
async def test_an_index_of_0_may_be_left_out(api: str, index: object) -> None:
    make = KINDS[api][1]
    events = [[make("x", 1), make("A", index)], [make("B", index, "stop")]]
    played = await play(api, stream(api, *events))
    assert (played.text, played.end.reason) == ("AB", "stop")


@formats
async def test_of_several_without_an_index_the_first_counts(api: str) -> None:
    make = KINDS[api][1]
    events = [[make("A"), make("x")], [make("B", None, "stop"), make("y")]]
    played = await play(api, stream(api, *events))
    assert played.text == "AB"


@formats
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_whole_answer_has_candidates_too(api: str, is_first: bool) -> None:
    name, make = KINDS[api]
    both = [make("A", 0, "stop"), make("x", 1, "stop")]
    body = json.dumps({name: both if is_first else both[::-1]}).encode()
    played = await play(api, Script([body], "application/json"))
    assert (played.text, played.end.reason) == ("A", "stop")


@pytest.mark.parametrize("api", ["openai", "deepseek"])
async def test_a_refusal_or_thought_of_another_is_none(api: str) -> None:
    other = {"index": 1, "delta": {"refusal": "No.", "reasoning_content": "hm"}}
    events = [[choice("A", 0), other], [choice("", 0, "stop")]]
    played = await play(api, stream(api, *events))
    assert (played.text, played.end.reason) == ("A", "stop")
