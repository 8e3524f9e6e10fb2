"""What a provider reports of an answer is stored with it, however the answer ends."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from llmchat.answers import runtime
from llmchat.answers.answer import start_answer
from llmchat.answers.events import Cancelled, Done, Failed
from llmchat.answers.follower import Follower
from llmchat.answers.live_stream import LiveStream
from llmchat.books.placed import stored_answer
from llmchat.database import in_database
from llmchat.errors import refusal
from llmchat.models import Budget, Conversation, Message
from llmchat.providers import retry
from tests.support.access import add_fallback
from tests.support.chat_fixtures import end_of, registered
from tests.support.upstream import running_upstream

SENT = 50_000
COUNTS = {
    "input_tokens": 2_000,
    "cache_read_input_tokens": 40_000,
    "cache_creation_input_tokens": 8_000,
    "cache_creation": {
        "ephemeral_5m_input_tokens": 5_000,
        "ephemeral_1h_input_tokens": 3_000,
    },
    "output_tokens": 1,
}
START = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "claude-snapshot", "usage": COUNTS},
}
END = {"type": "message_stop"}
TOLD = {
    "model": "deepseek-1017",
    "system_fingerprint": "fp_1017",
    "choices": [{"delta": {"content": "Hel"}}],
    "usage": {
        "prompt_tokens": 90,
        "completion_tokens": 70,
        "completion_tokens_details": {"reasoning_tokens": 60},
        "prompt_cache_hit_tokens": 64,
        "prompt_cache_miss_tokens": 26,
    },
}


def text(piece: str) -> dict[str, Any]:
    delta = {"type": "text_delta", "text": piece}
    return {"type": "content_block_delta", "index": 0, "delta": delta}


def stop(reason: str, **counts: int) -> dict[str, Any]:
    delta = {"stop_reason": reason}
    return {"type": "message_delta", "delta": delta, "usage": counts}


async def answers() -> list[Message]:
    rows = Message.objects.filter(role="assistant").order_by("created_at")
    return await in_database(lambda: list(rows))


async def answer() -> Message:
    (row,) = await answers()
    return row


def counted(row: Message) -> tuple[int | None, ...]:
    return (
        row.input_tokens,
        row.cache_read_tokens,
        row.cache_write_tokens,
        row.output_tokens,
        row.reasoning_tokens,
    )


@pytest.fixture
async def claude(provider, upstream):
    """Let the provider speak Claude's API; its steps hold everything it reports."""
    upstream.cut = True
    provider.protocol = "claude"
    await in_database(provider.save)
    return upstream


async def broken_off(user: Any, asked: Any, how: str, said: str) -> LiveStream:
    """Break an answer off once this text of it has arrived."""
    with registered(user, asked) as stream:
        follower = Follower(stream)
        start_answer(asked, stream)
        seen = ""
        async with asyncio.timeout(10):
            while seen != said:
                seen += "".join(await follower.read())
            if how == "left":
                await follower.leave()
            elif how == "cancelled":
                stream.cancel()
            else:
                stream.interrupt(refusal("draining"))
            await stream.ended.wait()
    return stream


# --- Claude, which reports its input before any text ---


async def test_a_whole_answer_is_stored_with_all_that_was_told(user, claude, turn):
    claude.steps = (START, text("Hello"), stop("end_turn", output_tokens=30), END)
    done = await end_of(user, turn("Hi"))

    row = await answer()
    assert isinstance(done, Done)
    assert counted(row) == (SENT, 40_000, 8_000, 30, 0)
    assert (row.answered_by, row.fingerprint) == ("claude-snapshot", "")
    assert done.usage.cache_write_long_tokens == 3_000


async def test_a_stream_that_broke_is_booked_with_what_it_had_told(user, claude, turn):
    claude.steps = (START, text("Hel"))
    failed = await end_of(user, turn("Hi"))

    row = await answer()
    assert isinstance(failed, Failed)
    assert (row.state, row.content) == ("error", "Hel")
    assert counted(row) == (SENT, 40_000, 8_000, 1, 0)
    assert row.answered_by == "claude-snapshot"
    conversation = await in_database(Conversation.objects.get)
    assert conversation.input_tokens == SENT


@pytest.mark.parametrize("how", ["cancelled", "cut off", "left"])
async def test_a_stream_that_is_broken_off_is_booked_with_what_it_had_told(
    user, claude, turn, how
):
    claude.steps = (START, text("Hel"), asyncio.Event())
    stream = await broken_off(user, turn("Hi"), how, "Hel")

    row = await answer()
    assert isinstance(stream.end, Failed if how == "cut off" else Cancelled)
    assert counted(row) == (SENT, 40_000, 8_000, 1, 0)
    assert row.answered_by == "claude-snapshot"


async def test_thoughts_that_were_not_counted_yet_are_guessed_beside_the_input(
    user, claude, turn
):
    thought = {"type": "thinking_delta", "thinking": "x" * 397}
    thinking = {"type": "content_block_delta", "index": 0, "delta": thought}
    claude.steps = (START, thinking, text("Hel"), asyncio.Event())
    await broken_off(user, turn("Hi"), "cancelled", "Hel")
    row = await answer()
    assert counted(row) == (SENT, 40_000, 8_000, 100, 0)
    assert row.usage_source == "estimated"


async def test_a_refusal_without_a_word_is_counted_and_costs_nothing(
    user, claude, turn
):
    fields = {"user": user, "period": "day", "unit": "dollars", "limit": 1}
    dollars = await in_database(lambda: Budget.objects.create(**fields))
    claude.steps = (START, stop("refusal", output_tokens=2), END)
    failed = await end_of(user, turn("Hi"))

    row = await answer()
    assert isinstance(failed, Failed)
    assert failed.error.code == row.error_code == "content_filtered"
    assert (row.input_tokens, row.cache_read_tokens) == (SENT, 40_000)
    assert (row.cost, failed.cost) == (0, 0)
    await in_database(dollars.refresh_from_db)
    assert dollars.spent == 0
    conversation = await in_database(Conversation.objects.get)
    assert (conversation.input_tokens, conversation.cost) == (SENT, 0)


async def test_a_refusal_behind_some_text_costs_what_was_counted(user, claude, turn):
    claude.steps = (START, text("I"), stop("refusal", output_tokens=2), END)
    done = await end_of(user, turn("Hi"))

    row = await answer()
    assert isinstance(done, Done)
    assert done.finish_reason == "content_filter"
    assert row.cost == Decimal("0.050004")


# --- OpenAI's format ---


@pytest.mark.parametrize("how", ["whole", "broken", "cancelled", "cut off"])
async def test_who_answered_is_stored_however_the_answer_ends(
    user, provider, upstream, turn, how
):
    upstream.steps, upstream.usage = (TOLD,), TOLD["usage"]
    if how in ("whole", "broken"):
        upstream.cut = how == "broken"
        await end_of(user, turn("Hi"))
    else:
        upstream.steps = (TOLD, asyncio.Event())
        await broken_off(user, turn("Hi"), how, "Hel")

    row = await answer()
    assert (row.answered_by, row.fingerprint) == ("deepseek-1017", "fp_1017")
    assert counted(row) == (90, 64, 0, 70, 60)
    # The name that was asked for and is billed stays unless the answer is complete.
    assert row.model == ("deepseek-1017" if how == "whole" else "model-1")


async def test_whoever_is_told_by_the_database_hears_the_same_counts(
    user, provider, upstream, turn
):
    upstream.steps, upstream.usage = (TOLD,), TOLD["usage"]
    done = await end_of(user, turn("Hi"))
    stored = await in_database(lambda: stored_answer(user.pk, done.message_id))
    assert stored.usage == done.usage
    assert done.usage.cache_read_tokens == 64


async def test_names_that_no_column_takes_are_made_to_fit(
    user, provider, upstream, turn
):
    upstream.steps = ({**TOLD, "model": "m\0" * 100, "system_fingerprint": "f" * 999},)
    await end_of(user, turn("Hi"))
    row = await answer()
    assert (row.answered_by, row.fingerprint) == ("m" * 100, "f" * 128)


async def test_what_says_nothing_of_itself_is_stored_with_nothing(
    user, provider, upstream, turn
):
    upstream.model, upstream.usage = None, None
    await end_of(user, turn("Hi"))
    row = await answer()
    assert (row.answered_by, row.fingerprint, row.model) == ("", "", "model-1")
    question = await in_database(lambda: Message.objects.get(role="user"))
    assert (question.cache_read_tokens, question.cache_write_tokens) == (None, None)


# --- several attempts ---


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(retry, "_BASE_DELAY_S", 0.01)


async def test_the_parts_of_all_attempts_are_booked_together(user, claude, turn, hasty):
    """The first answer is empty, so it is asked for again."""
    claude.steps = (START, stop("end_turn", output_tokens=9), END)
    asked = asyncio.create_task(end_of(user, turn("Hi")))
    await claude.answered.wait()
    claude.steps = (START, text("Hi"), stop("end_turn", output_tokens=30), END)
    assert isinstance(await asked, Done)
    assert counted(await answer()) == (2 * SENT, 80_000, 16_000, 39, 0)


async def test_what_the_first_provider_told_is_booked_beside_its_fallback(
    user, claude, provider, turn, hasty
):
    claude.steps = (START, stop("end_turn", output_tokens=9), END)
    async with running_upstream() as other:
        other.steps, other.usage = (TOLD,), TOLD["usage"]
        await in_database(add_fallback, provider, other.base_url)
        done = await end_of(user, turn("Hi"))

    row = await answer()
    assert isinstance(done, Done)
    assert counted(row) == (2 * SENT + 90, 80_064, 16_000, 18 + 70, 60)
    assert (row.provider, row.answered_by) == ("other", "deepseek-1017")


async def test_a_fallback_that_says_nothing_is_not_taken_for_the_first_provider(
    user, claude, provider, turn, hasty
):
    claude.steps = (START, stop("end_turn", output_tokens=9), END)
    async with running_upstream() as other:
        other.status = 500
        await in_database(add_fallback, provider, other.base_url)
        assert isinstance(await end_of(user, turn("Hi")), Failed)
    row = await answer()
    assert (row.provider, row.answered_by) == ("other", "")
    assert counted(row) == (2 * SENT, 80_000, 16_000, 18, 0)


async def test_a_cancellation_between_two_attempts_costs_none_of_them(
    user, provider, upstream, turn, monkeypatch
):
    """The first attempt failed without a count, and the second is never made."""
    monkeypatch.setattr(retry, "_BASE_DELAY_S", 60)
    monkeypatch.setattr(retry, "_MAX_DELAY_S", 60)
    upstream.status = 500
    waiting = asyncio.Event()
    delay = retry.Attempts.next_delay

    def next_delay(attempts, error):
        waiting.set()
        return delay(attempts, error)

    monkeypatch.setattr(retry.Attempts, "next_delay", next_delay)
    asked = asyncio.create_task(end_of(user, turn("x" * 400)))
    await waiting.wait()
    (stream,) = runtime.get().streams.running()
    stream.cancel()
    assert isinstance(await asked, Cancelled)
    row = await answer()
    assert (row.input_tokens, row.output_tokens, row.cost) == (0, 0, 0)
