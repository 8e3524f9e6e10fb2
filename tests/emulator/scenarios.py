"""What can happen to an answer, by name.

A request chooses with the model's name, `scenario-<name>`. Before the name may stand
`once-` or `twice-`: the same request gets the plain short answer after that.
`fail-<row>` is a row of the API's error table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from .api import PREFIX, Api, Story, event
from .claude_api import ClaudeApi
from .gemini_api import GeminiApi
from .openai_api import OpenAIApi
from .response import Pause, Repeat, Reset, Response, Step, json_response

Play = Callable[[Api], Response]
OPENAI = ("openai", "deepseek")
SCENARIOS: dict[str, Play] = {}
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
    """Return the answer to the request with this number for this model."""
    name = model.removeprefix(PREFIX) if model.startswith(PREFIX) else "short"
    for prefix, times in (("once-", 1), ("twice-", 2)):
        if name.startswith(prefix):
            name = name.removeprefix(prefix) if number < times else "short"
    if name.removeprefix("fail-") in api.failures:
        return api.fail(name.removeprefix("fail-"))
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


def _joined(api: Api, story: Story = SHORT) -> bytes:
    return b"".join(api.events(story))


@scenario("bytewise")
def _bytewise(api: Api) -> Response:
    stream = _joined(api, UNICODE)
    return Response([stream[n : n + 1] for n in range(len(stream))])


def _with_newline(newline: bytes) -> Play:
    def play(api: Api) -> Response:
        return Response([_joined(api).replace(b"\r\n", b"\n").replace(b"\n", newline)])

    return play


SCENARIOS |= {
    "lf": _with_newline(b"\n"),
    "crlf": _with_newline(b"\r\n"),
    "cr": _with_newline(b"\r"),
}


@scenario("bom")
def _bom(api: Api) -> Response:
    return Response([b"\xef\xbb\xbf", _joined(api)])


@scenario("no-space")
def _no_space(api: Api) -> Response:
    return Response([_joined(api).replace(b"data: ", b"data:")])


@scenario("no-final-newline")
def _no_final_newline(api: Api) -> Response:
    return Response([_joined(api).rstrip(b"\r\n")])


@scenario("multi-data")
def _multi_data(api: Api) -> Response:
    """Every JSON value over several data lines."""
    events = []
    for item in api.events(SHORT):
        newline = b"\r\n" if b"\r\n" in item else b"\n"
        events.append(re.sub(rb', (?="\w+":)', b"," + newline + b"data: ", item))
    return Response(events)


@scenario("noisy")
def _noisy(api: Api) -> Response:
    """Comments, pings and fields and events that nobody knows, between all."""
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
    """A pair of escapes cut over two events, and half a pair."""
    events = api.events(Story(("HIGH", "LOW", " and ", "HIGH", "!")))
    high, low = b"\\ud83d", b"\\ude00"
    return Response(
        [item.replace(b"HIGH", high).replace(b"LOW", low) for item in events]
    )


@scenario("surrogate-last")
def _surrogate_last(api: Api) -> Response:
    events = api.events(Story(("end ", "HIGH")))
    return Response([item.replace(b"HIGH", b"\\ud83d") for item in events])


# --- the connection ---


@scenario("cut-chunked")
def _cut_chunked(api: Api) -> Response:
    return Response(api.events(UNFINISHED), whole=False)


@scenario("cut-close")
def _cut_close(api: Api) -> Response:
    return Response(api.events(UNFINISHED), framing="close")


@scenario("cut-silent")
def _cut_silent(api: Api) -> Response:
    return Response([], whole=False)


@scenario("short-close")
def _short_close(api: Api) -> Response:
    return Response(api.events(SHORT), framing="close")


@scenario("reset-in-character")
def _reset_in_character(api: Api) -> Response:
    stream = _joined(api)
    middle = stream.index("ö".encode()) + 1
    # Half an event does not reach the client's parser: nothing of it is shown.
    return Response([stream[:middle], Pause(0.05), Reset()])


@scenario("reset-before-headers")
def _reset_before_headers(api: Api) -> Response:
    return Response([Reset()], status=0)


# --- time ---


@scenario("slow-headers")
def _slow_headers(api: Api) -> Response:
    return Response(api.events(SHORT), delay_s=3600)


@scenario("slow-first")
def _slow_first(api: Api) -> Response:
    return Response([Pause(3600)])


@scenario("silence")
def _silence(api: Api) -> Response:
    return Response([*api.events(UNFINISHED), Pause(3600)])


@scenario("silence-after-finish", *OPENAI, "claude")
def _silence_after_finish(api: Api) -> Response:
    return Response([*api.events(replace(SHORT, terminator=False)), Pause(3600)])


def _keep_alive(api: Api) -> bytes:
    ping = event('{"type": "ping"}', "ping")
    return ping if api.name == "claude" else b": keep-alive\n\n"


@scenario("comments-only")
def _comments_only(api: Api) -> Response:
    return Response([Repeat(_keep_alive(api), 0.02)])


@scenario("comments-after-text")
def _comments_after_text(api: Api) -> Response:
    return Response([*api.events(UNFINISHED), Repeat(_keep_alive(api), 0.02)])


@scenario("comments-first")
def _comments_first(api: Api) -> Response:
    waiting: list[Step] = [_keep_alive(api), Pause(0.02)]
    return Response([*(waiting * 5), *api.events(SHORT)])


@scenario("trickle")
def _trickle(api: Api) -> Response:
    stream = _joined(api)
    steps: list[Step] = []
    for start in range(0, len(stream), 64):
        steps += [stream[start : start + 64], Pause(0.05)]
    return Response(steps)


@scenario("endless")
def _endless(api: Api) -> Response:
    """Text for ever, a piece every 20 ms."""
    *start, piece = api.events(replace(UNFINISHED, pieces=("on ",), usage="none"))
    if api.name == "claude":  # the block's stop comes last
        piece = start.pop()
    return Response([*start, Repeat(piece, 0.02)])


# --- bodies that are no streams ---


@scenario("whole")
def _whole(api: Api) -> Response:
    """A complete answer, by a server that does not know `stream`."""
    return json_response(api.whole(SHORT))


@scenario("whole-late")
def _whole_late(api: Api) -> Response:
    body = json.dumps(api.whole(SHORT)).encode()
    steps: Sequence[Step] = [b"\n\n", Pause(0.02), b"\n", body]
    return Response(steps, content_type="application/json")


@scenario("whole-untyped")
def _whole_untyped(api: Api) -> Response:
    body = json.dumps(api.whole(SHORT)).encode()
    return Response([b"\n", body], content_type="")


@scenario("untyped")
def _untyped(api: Api) -> Response:
    return Response(api.events(SHORT), content_type="")


@scenario("json-error")
def _json_error(api: Api) -> Response:
    return json_response(api.failures["unavailable"][1])


@scenario("json-array-error")
def _json_array_error(api: Api) -> Response:
    return json_response([api.failures["unavailable"][1]])


@scenario("array", "gemini")
def _array(api: Api) -> Response:
    return json_response([api.whole(SHORT), api.whole(SHORT)])


_HTML = b"<!doctype html><html><body>Bad gateway SECRET</body></html>"


@scenario("html")
def _html(api: Api) -> Response:
    return Response([_HTML], content_type="text/html", framing="length")


@scenario("html-502")
def _html_502(api: Api) -> Response:
    return Response([_HTML], 502, "text/html", framing="length")


@scenario("html-404")
def _html_404(api: Api) -> Response:
    return Response([_HTML], 404, "text/html", framing="length")


@scenario("ndjson")
def _ndjson(api: Api) -> Response:
    line = b'{"message":{"content":"Hi"},"done":false}\n'
    return Response([line], content_type="application/x-ndjson")


@scenario("nothing")
def _nothing(api: Api) -> Response:
    return Response([])


@scenario("empty-500")
def _empty_500(api: Api) -> Response:
    return Response([], 500, "", framing="length")


@scenario("redirect")
def _redirect(api: Api) -> Response:
    headers = {"location": "/elsewhere"}
    return Response([_HTML], 301, "text/html", headers, framing="length")


# --- errors inside the stream ---


@scenario("first-error")
def _first_error(api: Api) -> Response:
    return Response([api.error_event("unavailable")])


@scenario("first-error-final")
def _first_error_final(api: Api) -> Response:
    return Response([api.error_event("context")])


@scenario("late-error")
def _late_error(api: Api) -> Response:
    return Response([*api.events(UNFINISHED), api.error_event("server")])


@scenario("late-error-done", *OPENAI)
def _late_error_done(api: Api) -> Response:
    events = [*api.events(UNFINISHED), api.error_event("server")]
    return Response([*events, api.events(SHORT)[-1]])


@scenario("not-json")
def _not_json(api: Api) -> Response:
    return Response([*api.events(UNFINISHED), event('{"half":')])


# --- one API's own ---


def _openai(api: Api) -> OpenAIApi:
    assert isinstance(api, OpenAIApi)
    return api


def _with_first(api: OpenAIApi, *deltas: object) -> Response:
    """Chunks with these deltas before the usual ones."""
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
    """Blocks and deltas that nobody knows, and a block that starts with text."""
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
    """A reset while every event so far had a finish reason: more was to come."""
    steps = list(_finish_everywhere(api).steps)
    return Response([*steps[:4], Reset()])


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
