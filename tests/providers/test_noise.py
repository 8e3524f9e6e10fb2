"""What may be in a stream that is not part of the answer."""

from __future__ import annotations

import pytest

from tests.emulator.application import APIS as EMULATED
from tests.emulator.driver import APIS
from tests.emulator.scenarios import SHORT, UNFINISHED
from tests.support.provider_script import Script, Step, play, sse

every_api = pytest.mark.parametrize("api", APIS)


def among(api: str, noise: bytes) -> list[Step]:
    """Return a stream with this noise before, between and after all events."""
    steps: list[Step] = [noise]
    for item in EMULATED[api].events(SHORT):
        steps += [item, noise]
    return steps


HEARTBEATS = [
    "ping",
    "",
    " ",
    "[PING]",
    ": keep-alive",
    "heartbeat 12:00:01",
    "OPENROUTER PROCESSING",
    "-",
    "null",
    "0",
    "true",
    '"ping"',
    "{}",
    '{"type": "ping"}',
    '{"type": "heartbeat", "time": 1}',
    "ping\ndata: ping",
]


@every_api
@pytest.mark.parametrize("heartbeat", HEARTBEATS)
async def test_a_heartbeat_is_skipped(api: str, heartbeat: str) -> None:
    played = await play(api, *among(api, sse(heartbeat)))
    assert (played.text, played.end.reason) == (SHORT.text, "stop")


@every_api
async def test_a_heartbeat_may_have_a_name(api: str) -> None:
    noise = b"event: ping\ndata: ping\n\nevent: keepalive\ndata:\n\n"
    played = await play(api, *among(api, noise))
    assert (played.text, played.end.reason) == (SHORT.text, "stop")


@every_api
async def test_a_bare_line_is_skipped(api: str) -> None:
    played = await play(api, *among(api, b"ping\n\nOK\r\n\r\n"))
    assert (played.text, played.end.reason) == (SHORT.text, "stop")


FAILURES = [
    sse("Internal Server Error"),
    sse('"upstream error"'),
    sse("<html><body>Bad gateway</body></html>"),
    sse("request timed out"),
    sse('{"half":'),
    sse("x" * 1000),
    sse('[{"error": {"message": "x"}}]'),
    b"event: error\ndata: overloaded\n\n",
    b"event: error\ndata: 500\n\n",
]


@every_api
@pytest.mark.parametrize("failure", FAILURES, ids=str)
async def test_what_tells_of_a_failure_is_none(api: str, failure: bytes) -> None:
    whole = EMULATED[api].events(SHORT)
    played = await play(api, *EMULATED[api].events(UNFINISHED), failure, whole[-1])
    assert (played.text, played.code) == (SHORT.text, "provider_error")


# --- labels ---

LABELS = [
    "text/html",
    "text/html; charset=utf-8",
    "TEXT/HTML",
    "text/plain",
    "application/json",
    "application/x-ndjson",
    "application/octet-stream",
    "",
]


@every_api
@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(
    "before", [b"", b"\n\n", b": padding\n\n", b"\xef\xbb\xbf", b"retry: 10\n\n"]
)
async def test_a_stream_is_one_whatever_its_label(
    api: str, label: str, before: bytes
) -> None:
    stream = before + b"".join(EMULATED[api].events(SHORT))
    bytewise = [stream[n : n + 1] for n in range(len(stream))]
    for steps in ([stream], bytewise):
        played = await play(api, Script(steps, label))
        assert (played.text, played.end.reason) == (SHORT.text, "stop")


PAGES = [
    b"<!doctype html><html><body>Bad gateway</body></html>",
    b"\n\n  <html>\n<body>data: no stream</body></html>",
    b"\xef\xbb\xbf<html></html>",
    b"<!-- data: {} -->",
]


@every_api
@pytest.mark.parametrize("page", PAGES, ids=str)
@pytest.mark.parametrize("label", ["text/html", "text/plain", ""])
async def test_a_page_is_an_error_whatever_its_label(
    api: str, page: bytes, label: str
) -> None:
    played = await play(api, Script([page], label))
    assert (played.code, played.text, played.requests) == ("provider_error", "", 1)


@every_api
async def test_a_page_behind_the_label_of_a_stream_is_an_error(api: str) -> None:
    played = await play(api, Script([PAGES[0]]))
    assert (played.code, played.text) == ("provider_error", "")


@every_api
async def test_plain_words_under_the_label_of_a_page_are_an_error(api: str) -> None:
    played = await play(api, Script([b"Bad gateway"], "text/html"))
    assert (played.code, played.requests) == ("provider_error", 1)


@every_api
async def test_json_under_the_label_of_a_page_is_read(api: str) -> None:
    error = b'{"error": {"code": 429, "message": "x", "type": "rate_limit_error"}}'
    played = await play(api, Script([error], "text/html"))
    assert played.code == "provider_rate_limited"
