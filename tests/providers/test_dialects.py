"""How servers of OpenAI's format report a failure in mid-stream, each in its own way.

Most of them send `[DONE]` after it.
"""

from __future__ import annotations

import json

import pytest

from llmchat.providers.sse import SSEReader
from tests.emulator.driver import SOON_IDLE
from tests.support.provider_script import FOREVER, Script, play, sse


def chunk(text: str, finish: str | None = None, **more: object) -> dict[str, object]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"model": "m", "choices": [choice], **more}


def failing_choice(**error: object) -> dict[str, object]:
    choice = {"index": 0, "delta": {}, "finish_reason": None, "error": error}
    return {"model": "m", "choices": [choice]}


ERROR = {"code": 500, "message": "x", "type": "server_error"}
BARE = json.dumps({"error": ERROR})
FAILURES = {
    "llama.cpp": f"error: {json.dumps(ERROR)}\n\n".encode(),
    "a field of words": b"error:overloaded\r\n\r\n",
    "a bare line": f"{BARE}\n\n".encode(),
    "bare lines": b'{\n  "error": {"code": 500}\n}\n\n',
    "a bare list": f" [ {BARE} ]\n\n".encode(),
    "a bare line between others": f"ping\n\nOK\n{BARE}\nping\n\n".encode(),
    "Claude's form between others": f'ping\n{{"type":"error",{BARE[1:]}\n\n'.encode(),
    "a bare line behind one of none": f'{{"error":null}}\n{BARE}\n\n'.encode(),
    "bare lines between others": b'OK\n{\n "type": "error",\n "error": "x"\n}\n,\n\n',
    "bare lines behind some of none": b'{"error":null},\n{"error":\n{"code": 500}}\n\n',
    "vLLM's old form": b'{"object":"error","message":"x","code":500}\n\n',
    "FastAPI": b'ping\n{"detail":"Internal Server Error"}\n\n',
    "Groq": sse(chunk("", x_groq={"id": "r", "error": "over capacity"})),
    "OpenRouter": sse(failing_choice(code=500, message="x")),
    "z.ai": sse(chunk("", "network_error")),
    "a gateway": sse(chunk("", "network-error")),
    "another gateway": sse(chunk("", "casino_error")),
    "vLLM": sse(chunk("", "abort")),
    "DashScope": sse(chunk("Internal server error", "error_finish")),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_before_the_terminator_is_no_whole_answer(name: str) -> None:
    played = await play("openai", sse(chunk("Half")), FAILURES[name], sse("[DONE]"))
    assert (played.text, played.code) == ("Half", "provider_error")
    assert played.requests == 1


@pytest.mark.parametrize("name", ["a bare line", "llama.cpp"])
async def test_a_failure_behind_the_finish_reason_is_none_either(name: str) -> None:
    """Nothing need follow it."""
    steps = [sse(chunk("Half", "stop")), FAILURES[name]]
    for end in ([], [FOREVER], [sse("[DONE]")]):
        played = await play("openai", *steps, *end, timeouts=SOON_IDLE)
        assert (played.text, played.code) == ("Half", "provider_error")


async def test_the_last_words_before_an_abort_are_the_answers() -> None:
    played = await play("openai", sse(chunk("Ha"), chunk("lf", "aborted"), "[DONE]"))
    assert (played.text, played.code) == ("Half", "provider_error")


LONG = "the request exceeds the available context size. try increasing it"
TOLD_LONG = {
    "field": f"error: {json.dumps({'code': 400, 'message': LONG})}\n\n",
    "bare": f"{json.dumps({'error': {'code': 400, 'message': LONG}})}\n\n",
    "Groq": sse(chunk("", x_groq={"error": LONG})).decode(),
}


@pytest.mark.parametrize("how", TOLD_LONG)
async def test_what_is_too_long_is_sent_once(how: str) -> None:
    played = await play("openai", TOLD_LONG[how].encode(), sse("[DONE]"))
    assert (played.code, played.requests) == ("context_too_long", 1)


@pytest.mark.parametrize("is_whole", [False, True], ids=["stream", "whole"])
async def test_the_error_of_a_choice_is_told_as_what_it_is(is_whole: bool) -> None:
    item = failing_choice(code=429, message="slow down")
    whole = Script([json.dumps(item).encode()], "application/json")
    played = await play("openai", whole if is_whole else sse(item, "[DONE]"))
    assert (played.code, played.requests) == ("provider_rate_limited", 3)


async def test_what_z_ai_filters_without_a_word_is_asked_once() -> None:
    played = await play("openai", sse(chunk("", "sensitive"), "[DONE]"))
    assert (played.code, played.requests) == ("content_filtered", 1)


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("sensitive", "content_filter"),
        ("model_context_window_exceeded", "length"),
        ("eos_token", "other"),
        ("no_error", "other"),
        ("NO-ERROR", "other"),
    ],
)
async def test_other_finish_reasons_are_those_of_whole_answers(
    finish: str, reason: str
) -> None:
    played = await play("openai", sse(chunk("Hi", finish), "[DONE]"))
    assert (played.text, played.end.reason) == ("Hi", reason)


NO_FAILURES = [
    b"error:\n\n",
    b"error: \n\n",
    b"error\n\n",
    b"error: null\n\n",
    b"error: false\r\n\r\n",
    b"error: {}\n\n",
    b'error: ""\n\n',
    # These are fields of the event that follows.
    b"error: null\n",
    b"error:\nerror: {}\n",
    b'{"status": "ok", "error": null}\n\n',
    b'note {"error": "x"}\n\n',
    b'ping\n{"status": "ok", "error": {}}\n{"detail": null}\n[1, "error"]\n\n',
    b'{"choices": [], "detail": "x"}\n{"object": "event"}\n\n',
    b'{"error": \n\n',
    sse({"model": "m", "choices": [], "x_groq": {"id": "r", "error": None}}),
    sse(chunk("", None) | {"error": None}),
]


@pytest.mark.parametrize("noise", NO_FAILURES, ids=str)
async def test_what_tells_of_no_failure_spoils_nothing(noise: bytes) -> None:
    steps = [noise, sse(chunk("Hi")), noise, sse(chunk("", "stop")), noise]
    played = await play("openai", *steps, sse("[DONE]"))
    assert (played.text, played.end.reason) == ("Hi", "stop")


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "behind"])
async def test_a_field_named_error_keeps_its_words_and_the_text_beside_it(
    is_first: bool,
) -> None:
    error = f"error: {json.dumps({'code': 400, 'message': LONG})}\n".encode()
    data = sse(chunk("Half")).removesuffix(b"\n")
    event = error + data if is_first else data + error
    played = await play("openai", event + b"\n", sse("[DONE]"))
    assert (played.text, played.code) == ("Half", "context_too_long")


def test_a_field_named_error_is_an_event_of_that_name() -> None:
    reader = SSEReader()
    events = reader.receive_bytes(b"error: x\n\ndata: 1\n\nerrors: x\n\n")
    assert events == [(b"error", b"x"), (b"", b"1")]
    assert reader.stray == b"errors: x"


def test_a_field_named_error_is_no_line_of_data() -> None:
    reader = SSEReader()
    body = b"event: e\nerror: {\ndata: 1\nerror: }\ndata: 2\nerror: null\n\n"
    assert reader.receive_bytes(body) == [(b"e", b"1\n2"), (b"error", b"{\n}")]
