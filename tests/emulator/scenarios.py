"""What can happen to an answer, by name.

A request chooses a scenario by the model's name, `scenario-<name>`. With `once-` or
`twice-` before the name, it is played that often for the same request, which then gets
the plain short answer. `fail-<row>` is a row of the API's error table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from .api import PREFIX, Api, Story, event
from .response import Response, Step

Play = Callable[[Api], Response]
OPENAI = ("openai", "deepseek")
SCENARIOS: dict[str, Play] = {}
COUNTED: dict[str, Play] = {}  # usage in many shapes (`counts.py`)
ONLY: dict[str, tuple[str, ...]] = {}  # the APIs that a scenario is for, if not all
SHORT = Story()
UNICODE = Story(("a\u2028b\u2029c\x85d", "\x0b\x0c\x1c\x1d\x1e", "naïve 日本 😀 end"))
LONG = Story(tuple(f"word{n} " for n in range(10_000)))
HUGE = Story(("x" * 300_000, " end"))
THOUGHTFUL = Story(reasoning=("Let me ", "think."))
UNFINISHED = replace(SHORT, finish="", terminator=False)


def scenario(name: str, *apis: str) -> Callable[[Play], Play]:
    """Register what is played under `name`, by all APIs or only by some."""

    def register(play: Play) -> Play:
        SCENARIOS[name] = play
        if apis:
            ONLY[name] = apis
        return play

    return register


def find(api: Api, model: str, number: int) -> Response:
    """Return the answer for this model; `number` of the same requests came before."""
    name = model.removeprefix(PREFIX) if model.startswith(PREFIX) else "short"
    for prefix, times in (("once-", 1), ("twice-", 2)):
        if name.startswith(prefix):
            name = name.removeprefix(prefix) if number < times else "short"
    if name.removeprefix("fail-") in api.failures:
        return api.fail(name.removeprefix("fail-"))
    if name in COUNTED:
        return COUNTED[name](api)
    if not applies(name, api):
        return api.fail("model")
    return SCENARIOS[name](api)


def applies(name: str, api: Api) -> bool:
    """Whether the API has a scenario of this name."""
    return name in SCENARIOS and api.name in ONLY.get(name, (api.name,))


def _told(story: Story) -> Play:
    return lambda api: Response(api.events(story))


SCENARIOS |= {
    "short": _told(SHORT),
    "long": _told(LONG),
    "unicode": _told(UNICODE),
    "huge-line": _told(HUGE),
    "reasoning": _told(THOUGHTFUL),
    "usage-finish": _told(replace(SHORT, usage="finish")),
    "usage-every": _told(replace(SHORT, usage="every")),
    "usage-none": _told(replace(SHORT, usage="none")),
    "length": _told(replace(SHORT, finish="length")),
    "filter-after": _told(replace(SHORT, finish="filter")),
    "filter-before": _told(Story((), finish="filter")),
    "new-reason": _told(replace(SHORT, finish="new")),
    "tool-silent": _told(Story((), finish="tool")),
    "tool-text": _told(replace(SHORT, finish="tool")),
    "broken-silent": _told(Story((), finish="broken")),
    "broken-text": _told(replace(SHORT, finish="broken")),
    "empty": _told(Story(())),
    "starved": _told(Story((), reasoning=("hmm",), finish="length")),
    "no-terminator": _told(replace(SHORT, terminator=False)),
    "no-finish": _told(replace(SHORT, finish="")),
    "unfinished": _told(UNFINISHED),
    "unfinished-silent": _told(Story((), finish="", terminator=False)),
}


ONLY |= {
    "broken-silent": ("openai", "deepseek", "gemini"),
    "broken-text": ("openai", "deepseek", "gemini"),
    "no-terminator": ("openai", "deepseek", "claude"),
    "no-finish": ("openai", "deepseek", "claude"),
}


def joined(api: Api, story: Story = SHORT) -> bytes:
    """Return a whole stream."""
    return b"".join(api.events(story))


@scenario("bytewise")
def _bytewise(api: Api) -> Response:
    stream = joined(api, UNICODE)
    return Response([stream[n : n + 1] for n in range(len(stream))])


def _with_newline(newline: bytes) -> Play:
    def play(api: Api) -> Response:
        return Response([joined(api).replace(b"\r\n", b"\n").replace(b"\n", newline)])

    return play


SCENARIOS |= {
    "lf": _with_newline(b"\n"),
    "crlf": _with_newline(b"\r\n"),
    "cr": _with_newline(b"\r"),
}


@scenario("bom")
def _bom(api: Api) -> Response:
    return Response([b"\xef\xbb\xbf", joined(api)])


@scenario("no-space")
def _no_space(api: Api) -> Response:
    return Response([joined(api).replace(b"data: ", b"data:")])


@scenario("no-final-newline")
def _no_final_newline(api: Api) -> Response:
    return Response([joined(api).rstrip(b"\r\n")])


@scenario("multi-data")
def _multi_data(api: Api) -> Response:
    """Every JSON value is spread over several data lines."""
    events = []
    for item in api.events(SHORT):
        newline = b"\r\n" if b"\r\n" in item else b"\n"
        events.append(re.sub(rb', (?="\w+":)', b"," + newline + b"data: ", item))
    return Response(events)


@scenario("noisy")
def _noisy(api: Api) -> Response:
    """Comments, pings, unknown fields and unknown events between all others."""
    noise = b": comment\nretry: 10\nid: 7\nnew-field: 1\n\n"
    steps: list[Step] = []
    for item in api.events(SHORT):
        steps += [noise, item]
        if api.name == "claude":
            steps += [event('{"type": "ping"}', "ping")]
            steps += [event('{"type":"brand_new","x":{}}   ', "brand_new")]
    return Response(steps)


@scenario("surrogates")
def _surrogates(api: Api) -> Response:
    """A pair of escapes that is split across two events, and half a pair."""
    events = api.events(Story(("HIGH", "LOW", " and ", "HIGH", "!")))
    high, low = b"\\ud83d", b"\\ude00"
    return Response(
        [item.replace(b"HIGH", high).replace(b"LOW", low) for item in events]
    )


@scenario("surrogate-last")
def _surrogate_last(api: Api) -> Response:
    events = api.events(Story(("end ", "HIGH")))
    return Response([item.replace(b"HIGH", b"\\ud83d") for item in events])
