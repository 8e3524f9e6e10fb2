"""The client against the emulator: attempts, keys, limits, connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest

from llmchat.providers import attempt
from llmchat.providers.client import ProviderClient
from llmchat.providers.errors import ProviderError
from llmchat.providers.types import Delta, Event, Finished, Key
from tests.emulator.driver import (
    APIS,
    HASTY,
    PATIENT,
    SOON_IDLE,
    Lab,
    NewTransport,
    chat,
    full_listener,
    lab,
)
from tests.emulator.scenarios import LONG, SHORT


@pytest.mark.parametrize("api", APIS)
async def test_an_answer_is_deltas_and_one_end(setting: Lab, api: str) -> None:
    outcome = await setting.ask(api, "short")
    assert outcome.deltas == list(SHORT.pieces)
    assert outcome.finished is not None
    assert outcome.finished.reason == "stop"
    assert outcome.finished.attempts == 1


@pytest.mark.parametrize("api", APIS)
async def test_a_long_answer_comes_whole_and_in_order(setting: Lab, api: str) -> None:
    outcome = await setting.ask(api, "long")
    assert outcome.deltas == list(LONG.pieces)
    assert outcome.finished is not None
    assert outcome.finished.usage.output_tokens == len(LONG.pieces)


BOTH_WAYS = True
PASSING = [
    "fail-server",
    "fail-unavailable",
    "fail-slow",
    "fail-rate",
    "html-502",
    "empty-500",
    "json-error",
    "nothing",
    "cut-silent",
    "reset-before-headers",
    "first-error",
    "unfinished-silent",
]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("scenario", PASSING)
async def test_a_failure_that_passes_is_not_seen(
    setting: Lab, api: str, scenario: str
) -> None:
    outcome = await setting.ask(api, f"twice-{scenario}")
    assert outcome.text == SHORT.text
    assert outcome.finished is not None
    assert outcome.finished.attempts == len(outcome.requests) == 3


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("scenario", PASSING)
async def test_there_are_three_attempts_at_most(
    setting: Lab, api: str, scenario: str
) -> None:
    outcome = await setting.ask(api, scenario)
    assert outcome.error is not None
    assert outcome.error.attempts == len(outcome.requests) == 3


FINAL = [
    "fail-auth",
    "fail-quota",
    "fail-model",
    "fail-context",
    "fail-bad-request",
    "fail-rate-long",
    "first-error-final",
    "html",
    "html-404",
    "redirect",
    "ndjson",
    "filter-before",
    "tool-silent",
]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("scenario", FINAL)
async def test_a_failure_that_stays_is_not_tried_again(
    setting: Lab, api: str, scenario: str
) -> None:
    outcome = await setting.ask(api, scenario)
    assert outcome.error is not None
    assert len(outcome.requests) == 1


BROKEN = [
    "unfinished",
    "cut-chunked",
    "cut-close",
    "late-error",
    "not-json",
    "reset-in-character",
]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("scenario", BROKEN)
async def test_nothing_is_tried_again_once_text_was_shown(
    setting: Lab, api: str, scenario: str
) -> None:
    outcome = await setting.ask(api, f"once-{scenario}")
    assert outcome.code == "provider_error"
    assert outcome.text
    assert SHORT.text.startswith(outcome.text)
    assert len(outcome.requests) == 1


@pytest.mark.parametrize("api", APIS)
async def test_an_empty_answer_is_tried_once_more(setting: Lab, api: str) -> None:
    outcome = await setting.ask(api, "once-empty")
    assert (outcome.text, len(outcome.requests)) == (SHORT.text, 2)
    setting.server.reset()
    outcome = await setting.ask(api, "empty")
    assert (outcome.code, len(outcome.requests)) == ("empty_answer", 2)


async def test_a_wait_that_the_provider_asks_for_is_kept(setting: Lab) -> None:
    outcome = await setting.ask("openai", "once-fail-rate")
    first, second = outcome.requests
    # Not from the end of the first: it is noted after the client has read the answer.
    assert second.received_at - first.received_at >= 0.05


async def test_a_wait_beyond_the_first_token_limit_is_not_begun(setting: Lab) -> None:
    limits = replace(PATIENT, first_token_s=0.04)
    outcome = await setting.ask("openai", "fail-rate", timeouts=limits)
    assert outcome.code == "provider_rate_limited"
    assert len(outcome.requests) == 1


# --- keys ---

GOOD, BAD, BROKE = Key("good", "key-good"), Key("bad", "bad"), Key("broke", "broke")


@pytest.mark.parametrize("api", APIS)
async def test_a_refused_key_is_passed_over_unseen(setting: Lab, api: str) -> None:
    outcome = await setting.ask(api, "short", keys=[BAD, BROKE, GOOD])
    assert outcome.text == SHORT.text
    assert outcome.refused == ["bad provider_auth", "broke provider_quota"]


@pytest.mark.parametrize(
    ("keys", "code"),
    [([BAD], "provider_auth"), ([BAD, BROKE], "provider_quota")],
)
@pytest.mark.parametrize("api", APIS)
async def test_the_last_keys_error_is_told_when_none_is_left(
    setting: Lab, api: str, keys: list[Key], code: str
) -> None:
    outcome = await setting.ask(api, "short", keys=keys)
    assert outcome.code == code
    assert len(outcome.refused) == len(outcome.requests) == len(keys)


@pytest.mark.parametrize("api", APIS)
async def test_a_key_that_may_not_is_passed_over_and_not_blamed(
    setting: Lab, api: str
) -> None:
    keys = [GOOD, replace(GOOD, ident="other")]
    outcome = await setting.ask(api, "fail-permission", keys=keys)
    first = await setting.ask(api, "once-fail-permission", keys=keys)
    assert (outcome.code, len(outcome.requests)) == ("provider_auth", len(keys))
    assert outcome.refused == []
    assert outcome.passed_over == [f"{key.ident} provider_auth" for key in keys]
    assert first.text == SHORT.text


@pytest.mark.parametrize("value", ["", " ", "a\nb", "schlüssel", "a\x00b"])
async def test_a_key_that_no_header_takes_is_refused_unsent(
    setting: Lab, value: str
) -> None:
    outcome = await setting.ask("openai", "short", keys=[Key("odd", value), GOOD])
    assert outcome.refused == ["odd provider_auth"]
    assert len(outcome.requests) == 1


async def test_a_key_may_have_white_space_around_it(setting: Lab) -> None:
    outcome = await setting.ask("openai", "short", keys=[Key("k", " key-1\n")])
    assert outcome.requests[0].headers["authorization"] == "Bearer key-1"


async def test_no_key_at_all_is_an_error_before_any_request(setting: Lab) -> None:
    outcome = await setting.ask("openai", "short", keys=[])
    assert (outcome.code, outcome.requests) == ("provider_auth", [])


async def test_a_server_that_needs_no_key_is_sent_none(setting: Lab) -> None:
    provider = setting.provider("openai", needs_key=False)
    outcome = await setting.ask("openai", "short", keys=[], provider=provider)
    assert "authorization" not in outcome.requests[0].headers


# --- limits ---


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("scenario", ["slow-headers", "slow-first", "comments-only"])
async def test_the_first_token_must_come_in_time(
    setting: Lab, api: str, scenario: str
) -> None:
    outcome = await setting.ask(api, scenario, timeouts=HASTY)
    assert (outcome.code, outcome.text) == ("provider_timeout", "")
    assert len(outcome.requests) == 1


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("scenario", ["silence", "comments-after-text"])
async def test_silence_and_pings_are_no_progress(
    setting: Lab, api: str, scenario: str
) -> None:
    outcome = await setting.ask(api, scenario, timeouts=SOON_IDLE)
    assert (outcome.code, outcome.text) == ("provider_timeout", SHORT.text)


@pytest.mark.parametrize("api", APIS)
async def test_an_answer_without_end_is_ended(setting: Lab, api: str) -> None:
    limits = replace(PATIENT, total_s=HASTY.total_s)
    for _ in range(3):
        outcome = await setting.ask(api, "endless", timeouts=limits)
        assert outcome.code == "provider_timeout"
        if len(outcome.deltas) > 5:
            return
        # A machine may stall at the beginning.
    pytest.fail(f"there was {outcome.text!r}")


@pytest.mark.parametrize("api", APIS)
async def test_silence_behind_the_finish_reason_does_not_spoil_the_answer(
    setting: Lab, api: str
) -> None:
    outcome = await setting.ask(api, "silence-after-finish", timeouts=SOON_IDLE)
    assert (outcome.text, outcome.error) == (SHORT.text, None)


async def test_nor_does_it_delay_the_answer_where_nothing_can_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempt, "_GRACE_S", 0.1)
    async with lab() as setting, asyncio.timeout(20):  # far below the other limits
        outcome = await setting.ask("claude", "silence-after-finish")
    assert (outcome.text, outcome.error) == (SHORT.text, None)


async def test_a_slow_consumer_is_not_taken_for_a_slow_provider(setting: Lab) -> None:
    limits = replace(PATIENT, idle_s=0.2)  # it is slower than that
    async with aclosing(setting.stream("openai", "endless", timeouts=limits)) as s:
        for _ in range(4):
            assert await anext(s) == Delta("on ")
            await asyncio.sleep(0.3)  # the time is what is tested


async def test_a_host_that_does_not_answer_is_unavailable(setting: Lab) -> None:
    provider = setting.provider("openai", base_url="http://127.0.0.1:1/v1")
    outcome = await setting.ask("openai", "short", provider=provider)
    assert outcome.code == "provider_unavailable"
    assert outcome.error is not None
    assert outcome.error.attempts == 3


async def test_a_host_that_takes_no_connection_is_too_slow(
    new_transport: NewTransport,
) -> None:
    with full_listener() as address:
        async with lab(new_transport=new_transport) as setting:
            provider = setting.provider("openai", base_url=f"http://{address}")
            limits = replace(PATIENT, connect_s=0.1)
            outcome = await setting.ask(
                "openai", "short", timeouts=limits, provider=provider
            )
    assert outcome.code == "provider_timeout"
    assert outcome.error is not None
    assert outcome.error.attempts == 3


@pytest.mark.parametrize("url", ["http://no-such-host.invalid", "nonsense", ""])
async def test_an_address_that_leads_nowhere_is_unavailable(
    setting: Lab, url: str
) -> None:
    provider = setting.provider("openai", base_url=url)
    outcome = await setting.ask("openai", "short", provider=provider)
    assert outcome.code == "provider_unavailable"


# --- connections ---


@pytest.mark.parametrize("api", APIS)
async def test_one_connection_serves_one_answer_after_the_other(
    setting: Lab, api: str
) -> None:
    for _ in range(5):
        outcome = await setting.ask(api, "short")
        assert outcome.finished is not None
        await setting.settle()
    assert setting.server.connections == 1
    assert not any(request.hung_up for request in setting.server.requests)


@pytest.mark.parametrize("api", ["openai", "deepseek", "claude"])
async def test_the_end_of_the_body_is_read_but_not_waited_for(
    setting: Lab, api: str
) -> None:
    server = setting.server
    outcome = await setting.ask(api, "lingering")
    assert outcome.finished is not None
    assert server.open_requests  # the body has not ended
    await setting.settle()
    assert not server.requests[0].hung_up
    assert (await setting.ask(api, "short")).finished is not None
    assert server.connections == 1


async def test_500_streams_at_once_share_one_client(setting: Lab) -> None:
    limits = replace(PATIENT, connect_s=60)  # a busy machine accepts them slowly
    outcomes = await asyncio.gather(
        *(
            setting.ask(APIS[n % 4], "comments-first", timeouts=limits)
            for n in range(500)
        )
    )
    assert setting.server.connections == 500
    assert all(outcome.text == SHORT.text for outcome in outcomes)


async def test_a_stream_beyond_the_pool_waits_for_its_turn(
    new_transport: NewTransport,
) -> None:
    async with lab(max_connections=2, new_transport=new_transport) as setting:
        outcomes = await asyncio.gather(
            *(setting.ask("openai", "short") for _ in range(50))
        )
        assert setting.server.connections <= 50
    assert all(outcome.text == SHORT.text for outcome in outcomes)


async def test_redirects_are_not_followed_with_a_key(setting: Lab) -> None:
    outcome = await setting.ask("openai", "redirect")
    assert [r.path for r in setting.server.requests] == ["/v1/chat/completions"]
    assert outcome.code == "provider_error"


async def test_a_proxy_of_the_environment_is_used(
    setting: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", setting.server.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    client = ProviderClient(PATIENT)
    provider = setting.provider("openai", base_url="http://provider.test/v1")
    events = [
        event
        async for event in client.stream_chat(provider, [GOOD], chat("scenario-short"))
    ]
    await client.aclose()
    target = setting.server.requests[0].target
    assert isinstance(events[-1], Finished)
    assert target == "http://provider.test/v1/chat/completions"


async def test_a_server_on_this_machine_is_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with lab() as setting:
        assert (await setting.ask("openai", "short")).text == SHORT.text


async def test_a_closed_client_ends_its_streams(setting: Lab) -> None:
    stream = setting.stream("openai", "endless")
    await anext(stream)
    await setting.client.aclose()
    with pytest.raises(ProviderError):
        await _exhaust(stream)


async def _exhaust(stream: AsyncGenerator[Event, None]) -> None:
    async with aclosing(stream) as events:
        async for _ in events:
            pass
