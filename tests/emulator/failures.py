"""Failures of every API: streams cut, slow or with an error, and other bodies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from .api import Api, event
from .response import Pause, Repeat, Reset, Response, Step, json_response
from .scenarios import OPENAI, SHORT, UNFINISHED, joined, scenario


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
    stream = joined(api)
    middle = stream.index("ö".encode()) + 1
    # Half an event does not reach the client's parser, so no part of it is shown.
    return Response([stream[:middle], Pause(0.05), Reset()])


@scenario("reset-before-headers")
def _reset_before_headers(api: Api) -> Response:
    return Response([Reset()], status=0)


@scenario("slow-headers")
def _slow_headers(api: Api) -> Response:
    return Response(api.events(SHORT), delay_s=3600)


@scenario("slow-first")
def _slow_first(api: Api) -> Response:
    return Response([Pause(3600)])


@scenario("silence")
def _silence(api: Api) -> Response:
    return Response([*api.events(UNFINISHED), Pause(3600)])


@scenario("silence-after-finish")
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


@scenario("lingering", *OPENAI, "claude")
def _lingering(api: Api) -> Response:
    """The end of the body comes some time after the terminator."""
    return Response([*api.events(SHORT), Pause(0.6)])


@scenario("trickle")
def _trickle(api: Api) -> Response:
    stream = joined(api)
    steps: list[Step] = []
    for start in range(0, len(stream), 64):
        steps += [stream[start : start + 64], Pause(0.05)]
    return Response(steps)


@scenario("endless")
def _endless(api: Api) -> Response:
    """Endless text, a piece every 20 ms."""
    *start, piece = api.events(replace(UNFINISHED, pieces=("on ",), usage="none"))
    if api.name == "claude":  # the block's stop comes last
        piece = start.pop()
    return Response([*start, Repeat(piece, 0.02)])


@scenario("whole")
def _whole(api: Api) -> Response:
    """A complete answer, from a server that does not know `stream`."""
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


@scenario("heartbeats")
def _heartbeats(api: Api) -> Response:
    """Data that is not JSON, or not an object, between all events."""
    beats = [event("ping"), event(": keep-alive"), event("null")]
    return Response([step for item in api.events(SHORT) for step in (*beats, item)])


@scenario("mislabelled")
def _mislabelled(api: Api) -> Response:
    """A stream with the content type of an HTML page."""
    return Response(api.events(SHORT), content_type="text/html; charset=utf-8")
