"""When an answer is over: at its terminator, seldom at a finish reason."""

from __future__ import annotations

import json

import pytest

from llmchat.providers import attempt
from llmchat.providers.transport import ConnectionLostError
from tests.emulator.api import event
from tests.emulator.claude_api import ClaudeApi
from tests.emulator.driver import SOON_IDLE
from tests.emulator.gemini_api import GeminiApi
from tests.emulator.openai_api import OpenAIApi
from tests.emulator.scenarios import SHORT
from tests.support.provider_script import FOREVER, Played, Script, Step, play, sse

# Between the grace after a last finish reason and the other limits.
PAUSE = 0.3
openai_format = pytest.mark.parametrize("api", ["openai", "deepseek"])


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "_GRACE_S", PAUSE / 3)


def chunk(text: str | None = None, finish: str | None = None) -> bytes:
    delta = {} if text is None else {"content": text}
    return event(OpenAIApi().chunk(delta, finish))


DONE = sse("[DONE]")
USAGE = sse({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}})


@openai_format
@pytest.mark.parametrize(
    ("early", "rest"),
    [
        ([chunk(None, "stop")], "Hello, "),
        ([chunk("", "stop")], "Hello, "),
        ([chunk("Hel", "stop")], "lo, "),
        ([chunk("Hel"), chunk(None, "stop"), USAGE], "lo, "),
        ([chunk("H", "stop"), chunk("el", "stop")], "lo, "),
        ([chunk("Hel", "length")], "lo, "),
    ],
    ids=["bare", "empty", "text", "usage", "each", "length"],
)
@pytest.mark.parametrize("end", [[DONE], [chunk(None, "stop"), DONE], []], ids=len)
async def test_a_finish_reason_on_an_early_chunk_ends_nothing(
    api: str, early: list[Step], rest: str, end: list[Step]
) -> None:
    played = await play(api, *early, PAUSE, chunk(rest), chunk("wörld!"), *end)
    assert (played.text, played.error) == (SHORT.text, None)
    assert played.requests == 1


async def test_a_finish_reason_of_gemini_ends_nothing_before_the_body_does() -> None:
    api = GeminiApi()
    first, second = (
        event(api.response([{"text": text}], None), newline="\r\n")
        for text in ("Hello, ", "wörld!")
    )
    stop = first.replace(b'"index"', b'"finishReason": "STOP", "index"')
    assert stop != first
    played = await play("gemini", stop, PAUSE, second)
    assert (played.text, played.end.reason) == (SHORT.text, "stop")


async def test_a_stop_reason_of_claude_before_any_block_ends_nothing() -> None:
    early = event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
    first, *others = ClaudeApi().events(SHORT)
    played = await play("claude", first, early, PAUSE, *others)
    assert (played.text, played.end.reason) == (SHORT.text, "stop")


async def test_a_stop_reason_of_claude_inside_a_block_ends_nothing() -> None:
    early = event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
    events = ClaudeApi().events(SHORT)
    middle = next(n for n, item in enumerate(events) if b"lo, " in item)
    steps: list[Step] = [*events[:middle], early, PAUSE, *events[middle:]]
    played = await play("claude", *steps)
    assert (played.text, played.end.reason) == (SHORT.text, "stop")


async def test_a_stop_reason_of_claude_behind_its_last_block_is_enough() -> None:
    *events, _ = ClaudeApi().events(SHORT)
    played = await play("claude", *events, FOREVER)
    assert (played.text, played.end.reason) == (SHORT.text, "stop")
    played = await play("claude", *events, ConnectionLostError("gone"))
    assert (played.text, played.end.reason) == (SHORT.text, "stop")


@openai_format
async def test_a_server_that_never_ends_is_waited_for_as_long_as_for_text(
    api: str,
) -> None:
    steps = [chunk(SHORT.text), chunk(None, "stop"), USAGE, FOREVER]
    played = await play(api, *steps, timeouts=SOON_IDLE)
    assert (played.text, played.end.reason) == (SHORT.text, "stop")
    assert played.end.usage.output_tokens == 4


@openai_format
async def test_pings_behind_the_finish_reason_do_not_keep_it_waiting(api: str) -> None:
    pings: list[Step] = [b": ping\n\n", 0.02] * 100
    steps = [chunk(SHORT.text), chunk(None, "stop"), *pings]
    played = await play(api, *steps, timeouts=SOON_IDLE)
    assert (played.text, played.end.reason) == (SHORT.text, "stop")


@openai_format
async def test_half_an_event_behind_the_finish_reason_does_not_spoil_it(
    api: str,
) -> None:
    steps = [chunk(SHORT.text, "stop"), b'data: {"choices": [], "us', FOREVER]
    played = await play(api, *steps, timeouts=SOON_IDLE)
    assert (played.text, played.end.reason) == (SHORT.text, "stop")


@openai_format
async def test_a_finish_reason_that_text_followed_makes_no_silence_whole(
    api: str,
) -> None:
    steps = [chunk("Hel", "stop"), chunk("lo"), FOREVER]
    played = await play(api, *steps, timeouts=SOON_IDLE)
    assert (played.text, played.code) == ("Hello", "provider_timeout")


@openai_format
async def test_nor_does_any_make_a_lost_connection_whole(api: str) -> None:
    steps = [chunk("Hel", "stop"), ConnectionLostError("gone")]
    played = await play(api, *steps)
    assert (played.text, played.code) == ("Hel", "provider_error")


@openai_format
async def test_an_early_finish_reason_before_a_silence_without_text_is_empty(
    api: str,
) -> None:
    played = await play(api, chunk(None, "stop"), FOREVER, timeouts=SOON_IDLE)
    assert (played.text, played.code, played.requests) == ("", "empty_answer", 1)


# --- an answer that thoughts ate ---

THOUGHT_AWAY = {
    "openai": [
        sse(
            {"choices": [{"delta": {"reasoning_content": "hm"}}]},
            {"choices": [{"delta": {}, "finish_reason": "length"}]},
            {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 64}},
            "[DONE]",
        )
    ],
    "claude": [
        sse(
            {"type": "message_start", "message": {"usage": {"input_tokens": 9}}},
            {"type": "content_block_start", "content_block": {"type": "thinking"}},
            {"type": "content_block_stop"},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "model_context_window_exceeded"},
                "usage": {"output_tokens": 64},
            },
            {"type": "message_stop"},
        )
    ],
    "gemini": [
        sse(
            {
                "candidates": [{"finishReason": "MAX_TOKENS"}],
                "usageMetadata": {"promptTokenCount": 9, "thoughtsTokenCount": 64},
            },
            newline="\r\n",
        )
    ],
}
THOUGHT_AWAY["deepseek"] = THOUGHT_AWAY["openai"]


@pytest.mark.parametrize("api", THOUGHT_AWAY)
async def test_an_answer_that_thoughts_ate_is_billed_once(api: str) -> None:
    played: Played = await play(api, *THOUGHT_AWAY[api])
    assert (played.code, played.requests) == ("empty_answer", 1)
    assert [(u.input_tokens, u.output_tokens) for u in played.billed] == [(9, 64)]
    assert played.error is not None
    assert not played.error.retryable


async def test_an_answer_that_thoughts_ate_may_come_in_one_piece() -> None:
    choice = {"message": {"content": None}, "finish_reason": "length"}
    body = json.dumps({"choices": [choice]}).encode()
    played = await play("openai", Script([body], "application/json"))
    assert (played.code, played.requests) == ("empty_answer", 1)


async def test_gemini_says_that_it_would_continue() -> None:
    candidate = {
        "content": {"parts": [{"text": "Hi"}]},
        "finishReason": "CONTINUATION",
        "continuationToken": "QUJD",
    }
    played = await play("gemini", sse({"candidates": [candidate]}))
    assert (played.text, played.end.reason) == ("Hi", "length")


@pytest.mark.parametrize("reason", ["FINISH_REASON_UNSPECIFIED", "", None, 1])
async def test_gemini_names_no_reason_in_many_ways(reason: object) -> None:
    candidate = {"content": {"parts": [{"text": "Hi"}]}, "finishReason": reason}
    played = await play("gemini", sse({"candidates": [candidate]}))
    assert (played.text, played.code) == ("Hi", "provider_error")
