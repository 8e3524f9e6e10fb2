"""The 32 ways in which a provider's stream misleads, by their numbers.

They are described in docs/providers.md.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import aclosing
from dataclasses import replace

import pytest

from llmchat.providers import retry
from llmchat.providers.body import BodyKind, kind_of
from llmchat.providers.client import ProviderClient
from llmchat.providers.registry import ADAPTERS, DEFAULT_PROVIDERS
from llmchat.providers.types import Chat, ChatMessage, Delta, FinishReason, Timeouts
from tests.emulator.application import APIS as EMULATED
from tests.emulator.driver import APIS, KEY, PATIENT, Lab, Outcome, chat, lab
from tests.emulator.scenarios import HUGE, SHORT, THOUGHTFUL, UNICODE

every_api = pytest.mark.parametrize("api", APIS)
openai_format = pytest.mark.parametrize("api", ["openai", "deepseek"])


async def ask(
    api: str, scenario: str, timeouts: Timeouts | None = None, **changes: object
) -> Outcome:
    async with lab() as setting:
        provider = setting.provider(api, **changes)
        limits = {"timeouts": timeouts} if timeouts else {}
        return await setting.ask(api, scenario, provider=provider, **limits)


def ended(outcome: Outcome) -> FinishReason:
    assert outcome.error is None
    assert outcome.finished is not None
    return outcome.finished.reason


def body_of(name: str, chat: Chat, **changes: object) -> dict[str, object]:
    provider = replace(DEFAULT_PROVIDERS[name].provider, **changes)  # type: ignore[arg-type]
    return ADAPTERS[provider.protocol].build_request(provider, KEY, chat).body


@every_api
async def test_trap_01_unicode_line_separators_do_not_cut_an_event(api: str) -> None:
    assert (await ask(api, "unicode")).text == UNICODE.text


@every_api
async def test_trap_02_a_character_cut_over_two_reads_is_whole(api: str) -> None:
    assert (await ask(api, "bytewise")).text == UNICODE.text


@every_api
@pytest.mark.parametrize(
    ("scenario", "text"),
    [("surrogates", "😀 and \ufffd!"), ("surrogate-last", "end \ufffd")],
)
async def test_trap_02_half_a_surrogate_pair_never_comes_out(
    api: str, scenario: str, text: str
) -> None:
    outcome = await ask(api, scenario)
    assert outcome.text == text
    assert all(delta and delta.encode() for delta in outcome.deltas)


@every_api
@pytest.mark.parametrize("newline", ["lf", "crlf", "cr"])
async def test_trap_03_every_line_ending_is_taken(api: str, newline: str) -> None:
    assert (await ask(api, newline)).text == SHORT.text


@every_api
@pytest.mark.parametrize("scenario", ["no-space", "multi-data", "bom", "noisy"])
async def test_trap_04_the_format_has_more_than_one_spelling(
    api: str, scenario: str
) -> None:
    outcome = await ask(api, scenario)
    assert (outcome.text, ended(outcome)) == (SHORT.text, "stop")


@every_api
async def test_trap_05_a_line_of_300_kilobytes_is_read(api: str) -> None:
    assert (await ask(api, "huge-line")).text == HUGE.text


@every_api
async def test_trap_06_the_last_blank_line_may_be_missing(api: str) -> None:
    outcome = await ask(api, "no-final-newline")
    assert (outcome.text, ended(outcome)) == (SHORT.text, "stop")


@every_api
@pytest.mark.parametrize("scenario", ["whole", "whole-late", "whole-untyped"])
async def test_trap_07_a_whole_answer_instead_of_a_stream_is_an_answer(
    api: str, scenario: str
) -> None:
    outcome = await ask(api, scenario)
    assert (outcome.text, ended(outcome)) == (SHORT.text, "stop")
    assert outcome.finished is not None
    assert outcome.finished.usage.source == "provider"


@every_api
@pytest.mark.parametrize(
    ("scenario", "attempts"),
    [("json-error", 3), ("json-array-error", 3), ("nothing", 3), ("html", 1)],
)
async def test_trap_07_a_success_may_be_a_failure(
    api: str, scenario: str, attempts: int
) -> None:
    outcome = await ask(api, scenario)
    assert outcome.error is not None
    assert outcome.finished is None
    assert len(outcome.requests) == attempts


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", BodyKind.UNKNOWN),
        (b"\n\n", BodyKind.UNKNOWN),
        (b"\ndata: {}", BodyKind.EVENTS),
        (b"event: x", BodyKind.EVENTS),
        (b": ping", BodyKind.EVENTS),
        (b" {", BodyKind.JSON),
        (b"null", BodyKind.JSON),
    ],
)
def test_trap_07_a_stream_may_be_called_json(head: bytes, kind: BodyKind) -> None:
    assert kind_of("application/json; charset=utf-8", head) is kind


@every_api
async def test_trap_08_an_error_as_the_first_event_may_be_tried_again(
    api: str,
) -> None:
    outcome = await ask(api, "once-first-error")
    assert (outcome.text, len(outcome.requests)) == (SHORT.text, 2)


@every_api
async def test_trap_08_a_later_one_may_not(api: str) -> None:
    outcome = await ask(api, "once-late-error")
    assert (outcome.text, outcome.code) == (SHORT.text, "provider_error")
    assert len(outcome.requests) == 1


@openai_format
@pytest.mark.parametrize(
    "scenario", ["late-error", "string-error", "detail-error", "object-error"]
)
async def test_trap_09_an_error_without_choices_is_seen(
    api: str, scenario: str
) -> None:
    outcome = await ask(api, scenario)
    assert outcome.error is not None
    assert outcome.finished is None


@pytest.mark.parametrize("scenario", ["bare-error", "bare-error-first"])
async def test_trap_10_an_error_that_is_no_event_is_seen(scenario: str) -> None:
    outcome = await ask("gemini", scenario)
    assert outcome.code == "provider_unavailable"
    assert outcome.finished is None


@openai_format
async def test_trap_11_an_innocent_chunk_and_the_end_are_no_success(api: str) -> None:
    outcome = await ask(api, "ollama-error")
    assert (outcome.text, outcome.code) == (SHORT.text, "provider_error")


@openai_format
async def test_trap_12_the_terminator_after_an_error_proves_nothing(api: str) -> None:
    outcome = await ask(api, "late-error-done")
    assert outcome.code == "provider_error"


@openai_format
async def test_trap_12_the_last_text_may_be_on_the_finish_chunk(api: str) -> None:
    outcome = await ask(api, "bare-chunks")
    assert (outcome.text, ended(outcome)) == ("Hi you", "stop")


@every_api
@pytest.mark.parametrize("scenario", ["cut-close", "cut-chunked", "unfinished"])
async def test_trap_13_a_cut_answer_is_never_a_whole_one(
    api: str, scenario: str
) -> None:
    outcome = await ask(api, scenario)
    assert (outcome.text, outcome.code) == (SHORT.text, "provider_error")


@every_api
async def test_trap_13_a_body_that_ends_with_its_connection_may_be_whole(
    api: str,
) -> None:
    outcome = await ask(api, "short-close")
    assert (outcome.text, ended(outcome)) == (SHORT.text, "stop")


async def test_trap_14_a_finish_reason_on_every_event_ends_nothing() -> None:
    outcome = await ask("gemini", "finish-everywhere")
    assert (outcome.text, ended(outcome)) == (SHORT.text, "stop")


async def test_trap_14_nor_does_it_make_a_cut_answer_whole() -> None:
    outcome = await ask("gemini", "cut-after-early-finish")
    assert (outcome.text, outcome.code) == (SHORT.pieces[0], "provider_error")


async def test_trap_15_overloaded_under_status_200_is_unavailable() -> None:
    outcome = await ask("claude", "first-error")
    assert outcome.code == "provider_unavailable"
    assert len(outcome.requests) == 3


@pytest.mark.parametrize("scenario", ["noisy", "usage-every", "unnamed-events"])
async def test_trap_16_pings_and_unknown_events_are_passed_over(scenario: str) -> None:
    outcome = await ask("claude", scenario)
    assert (outcome.text, ended(outcome)) == (SHORT.text, "stop")
    assert outcome.finished is not None
    usage = outcome.finished.usage
    assert (usage.input_tokens, usage.output_tokens) == (21, 4)


async def test_trap_16_text_may_come_in_any_block() -> None:
    assert (await ask("claude", "other-blocks")).text == "First. " + SHORT.text
    assert (await ask("claude", "reasoning")).text == THOUGHTFUL.text


async def test_trap_16_a_start_comes_once_or_twice_alike() -> None:
    assert (await ask("claude", "second-start-same")).text == SHORT.text
    assert (await ask("claude", "second-start-other")).code == "provider_error"


async def test_trap_17_a_request_that_other_providers_take_is_made_fit(
    setting: Lab,
) -> None:
    messages = (
        ChatMessage("system", "Be brief."),
        ChatMessage("assistant", "Before the first question."),
        ChatMessage("user", "One"),
        ChatMessage("assistant", ""),  # an answer that failed
        ChatMessage("user", "Two"),
        ChatMessage("system", "Be kind."),
    )
    asked = Chat("scenario-short", messages, temperature=1.9)
    stream = setting.client.stream_chat(setting.provider("claude"), [KEY], asked)
    async with aclosing(stream) as events:
        text = "".join([e.text async for e in events if isinstance(e, Delta)])
    body = setting.server.requests[0].body
    assert text == SHORT.text
    assert body["max_tokens"] == 32_000
    assert body["system"] == "Be brief.\n\nBe kind."
    assert body["messages"] == [{"role": "user", "content": "One\n\nTwo"}]
    assert "temperature" not in body


async def test_trap_18_comments_do_not_keep_a_stream_alive() -> None:
    started = asyncio.get_running_loop().time()
    limits = replace(PATIENT, first_token_s=0.4)  # all other limits are much longer
    outcome = await ask("deepseek", "comments-only", limits)
    assert outcome.code == "provider_timeout"
    assert asyncio.get_running_loop().time() - started < PATIENT.idle_s


async def test_trap_18_reasoning_beside_empty_content_is_no_text() -> None:
    outcome = await ask("deepseek", "reasoning")
    assert outcome.text == THOUGHTFUL.text
    assert outcome.finished is not None
    assert outcome.finished.usage.reasoning_tokens == len(THOUGHTFUL.reasoning)


async def test_trap_18_blank_lines_before_a_json_body_are_skipped() -> None:
    assert (await ask("deepseek", "whole-late")).text == SHORT.text


async def test_trap_18_an_empty_balance_is_a_quota_and_thinking_is_off() -> None:
    outcome = await ask("deepseek", "fail-quota")
    assert outcome.code == "provider_quota"
    assert outcome.requests[0].body["thinking"] == {"type": "disabled"}


@openai_format
@pytest.mark.parametrize("scenario", ["no-choices-first", "delta-null", "usage-none"])
async def test_trap_19_fields_may_be_null_or_empty_or_missing(
    api: str, scenario: str
) -> None:
    assert (await ask(api, scenario)).text == SHORT.text


@openai_format
async def test_trap_19_a_refusal_is_an_answer(api: str) -> None:
    outcome = await ask(api, "refusal")
    assert (outcome.text, ended(outcome)) == ("I can't help.", "content_filter")


async def test_trap_19_an_account_that_may_not_stream_is_told() -> None:
    outcome = await ask("openai", "fail-unverified")
    assert (outcome.code, len(outcome.requests)) == ("bad_request", 1)


@every_api
async def test_trap_20_too_many_requests_are_tried_again(api: str) -> None:
    outcome = await ask(api, "once-fail-rate")
    assert (outcome.text, len(outcome.requests)) == (SHORT.text, 2)


@every_api
async def test_trap_20_too_little_money_is_not(api: str) -> None:
    outcome = await ask(api, "once-fail-quota")
    assert (outcome.code, len(outcome.requests)) == ("provider_quota", 1)


@every_api
async def test_trap_20_a_wrong_key_is_known_whatever_its_status(api: str) -> None:
    for row in ("fail-auth", "fail-no-key"):
        outcome = await ask(api, row)
        assert (outcome.code, len(outcome.requests)) == ("provider_auth", 1)


@pytest.mark.parametrize("row", ["rate-date", "rate-negative", "rate-absurd"])
async def test_trap_21_an_absurd_wait_is_not_kept(row: str) -> None:
    started = asyncio.get_running_loop().time()
    outcome = await ask("openai", f"once-fail-{row}")
    assert outcome.text == SHORT.text
    assert asyncio.get_running_loop().time() - started < 10


@every_api
async def test_trap_21_a_long_wait_is_told_instead_of_kept(api: str) -> None:
    outcome = await ask(api, "fail-rate-long")
    assert outcome.error is not None
    assert outcome.error.retry_after == (34.4 if api == "gemini" else 60)
    assert len(outcome.requests) == 1


@every_api
async def test_trap_22_an_empty_answer_is_an_error_after_two_attempts(
    api: str,
) -> None:
    outcome = await ask(api, "empty")
    assert (outcome.code, len(outcome.requests)) == ("empty_answer", 2)


@every_api
async def test_trap_22_an_answer_that_thoughts_ate_is_not_asked_for_again(
    api: str,
) -> None:
    outcome = await ask(api, "starved")
    assert (outcome.code, len(outcome.requests)) == ("empty_answer", 1)


@every_api
async def test_trap_22_an_empty_message_is_not_sent_back(api: str) -> None:
    body = body_of(api, chat("m", "One", " ", "Two"))
    text = json.dumps(body)
    assert r"One\n\nTwo" in text


@every_api
async def test_trap_23_no_key_is_in_an_address_a_log_or_an_error(
    api: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("", "httpx", "llmchat"):
        caplog.set_level(logging.DEBUG, name)
    outcome = await ask(api, "fail-auth")
    assert "SECRET" not in outcome.requests[0].target
    assert "SECRET" not in caplog.text
    assert "SECRET" not in f"{outcome.error!r} {outcome.error}"


async def test_trap_24_the_pool_is_larger_than_a_hundred(setting: Lab) -> None:
    tasks = [
        asyncio.create_task(setting.ask("openai", "slow-headers")) for _ in range(150)
    ]
    await setting.server.until(lambda: len(setting.server.requests) == 150)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@every_api
async def test_trap_25_a_connection_gone_stale_is_replaced_at_once(
    setting: Lab, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "_BASE_DELAY_S", 60.0)  # it must not be waited for
    assert (await setting.ask(api, "short")).finished is not None
    limits = replace(PATIENT, first_token_s=2)
    scenario = "once-reset-before-headers"
    outcome = await setting.ask(api, scenario, timeouts=limits)
    assert (outcome.text, len(outcome.requests)) == (SHORT.text, 2)


@every_api
async def test_trap_26_nothing_is_asked_to_compress(api: str) -> None:
    outcome = await ask(api, "short")
    assert outcome.requests[0].headers["accept-encoding"] == "identity"


@every_api
async def test_trap_27_a_connection_cut_in_silence_is_an_error(api: str) -> None:
    outcome = await ask(api, "reset-in-character")
    assert outcome.code == "provider_error"
    assert SHORT.text.startswith(outcome.text)


@every_api
async def test_trap_28_a_stream_given_up_is_hung_up(setting: Lab, api: str) -> None:
    async with aclosing(setting.stream(api, "endless")) as events:
        await anext(events)
    await setting.server.until(lambda: not setting.server.open_requests)
    assert setting.server.requests[0].hung_up


@every_api
async def test_trap_29_a_reason_nobody_knows_is_kept_raw(api: str) -> None:
    outcome = await ask(api, "new-reason")
    assert (outcome.text, ended(outcome)) == (SHORT.text, "other")
    assert outcome.finished is not None
    assert outcome.finished.raw_reason.lower() == "brand_new_reason"


@every_api
async def test_trap_30_a_retired_model_is_told_whatever_its_status(
    setting: Lab, api: str
) -> None:
    client: ProviderClient = setting.client
    stream = client.stream_chat(setting.provider(api), [KEY], chat("retired-1"))
    with pytest.raises(Exception, match="model_not_found"):
        await anext(stream)
    statuses = [request.status for request in setting.server.requests]
    assert statuses == [400 if api == "deepseek" else 404]


async def test_trap_31_google_is_asked_not_to_store() -> None:
    assert (await ask("gemini", "short")).requests[0].body["store"] is False


async def test_trap_32_thought_signatures_are_neither_shown_nor_kept() -> None:
    outcome = await ask("gemini", "short")
    signature = "QUJD"
    assert signature in b"".join(EMULATED["gemini"].events(SHORT)).decode()
    assert signature not in repr(outcome.deltas) + repr(outcome.finished)


@every_api
@pytest.mark.parametrize(
    ("scenario", "reason"),
    [("length", "length"), ("filter-after", "content_filter"), ("tool-text", "other")],
)
async def test_finish_reasons_are_mapped(api: str, scenario: str, reason: str) -> None:
    outcome = await ask(api, scenario)
    assert (outcome.text, ended(outcome)) == (SHORT.text, reason)


@every_api
async def test_blocked_before_any_text_is_told_as_filtered(api: str) -> None:
    assert (await ask(api, "filter-before")).code == "content_filtered"
    if api == "gemini":
        assert (await ask(api, "blocked")).code == "content_filtered"


@pytest.mark.parametrize("api", ["openai", "deepseek", "gemini"])
async def test_a_breakdown_told_as_a_finish_reason_is_an_error(api: str) -> None:
    outcome = await ask(api, "broken-text")
    assert (outcome.text, outcome.code) == (SHORT.text, "provider_error")
    outcome = await ask(api, "once-broken-silent")
    assert (outcome.text, len(outcome.requests)) == (SHORT.text, 2)


@pytest.mark.parametrize("api", ["openai", "deepseek", "claude"])
@pytest.mark.parametrize(
    ("scenario", "reason"), [("no-terminator", "stop"), ("no-finish", "other")]
)
async def test_terminator_or_finish_reason_is_enough(
    api: str, scenario: str, reason: str
) -> None:
    outcome = await ask(api, scenario)
    assert (outcome.text, ended(outcome)) == (SHORT.text, reason)


async def test_an_address_without_alt_sse_fails_clearly() -> None:
    outcome = await ask("gemini", "array")
    assert (outcome.code, outcome.text) == ("provider_error", "")
    assert len(outcome.requests) == 1
