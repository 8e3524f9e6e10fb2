"""What is billed for an answer, even if it is cancelled, fails or is deleted."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal

import pytest

from llmchat.answers import runtime
from llmchat.answers.events import Cancelled, Done, Failed, Token
from llmchat.database import in_database
from llmchat.errors import refusal
from llmchat.models import Budget, Conversation
from llmchat.providers import retry
from llmchat.providers.types import Usage
from tests.emulator.driver import APIS
from tests.support.access import (
    add_fallback,
    answer,
    booked,
    env_name,
    reservations,
    spent,
    turn_for,
)
from tests.support.chat_fixtures import end_of, registered, stream_answer, until
from tests.support.streaming import streaming
from tests.support.upstream import running_upstream

DOLLARS = Budget.Unit.DOLLARS


async def test_a_cancelled_answer_costs_what_was_sent_of_it(
    user, provider, upstream, turn, budget
):
    row = await budget()
    upstream.steps = ("Hel", "lo", asyncio.Event())
    async with streaming(user, turn("Hi")) as (_, events, stream):

        async def has_two_tokens() -> bool:
            return sum(isinstance(event, Token) for event in events) == 2

        await until(has_two_tokens)
        stream.cancel()
    assert isinstance(events[-1], Cancelled)
    assert await spent(row) == 3
    assert await reservations() == []


async def test_a_cancelled_answer_costs_its_text_however_large_its_pieces_are(
    user, provider, upstream, turn, budget
):
    row = await budget()
    upstream.steps = ("x" * 400, asyncio.Event())
    async with streaming(user, turn("Hi")) as (_, _events, stream):
        stream.cancel()
    assert await spent(row) == 101


@pytest.mark.parametrize("interrupted", [False, True], ids=["cancelled", "cut off"])
async def test_an_answer_that_is_broken_off_while_it_thinks_costs_its_prompt(
    user, provider, upstream, turn, budget, interrupted
):
    row = await budget()
    upstream.steps = (asyncio.Event(),)
    asked = asyncio.create_task(end_of(user, turn("x" * 400)))
    await upstream.received.wait()
    (stream,) = runtime.get().streams.running()
    if interrupted:
        stream.interrupt(refusal("draining"))
    else:
        stream.cancel()
    await asked
    assert await spent(row) == 101
    assert await reservations() == []


async def test_an_answer_that_is_cancelled_before_its_provider_is_asked_costs_nothing(
    user, provider, upstream, turn, budget
):
    row = await budget()
    with registered(user, turn("x" * 400)) as stream:
        stream.cancel()
        answer = stream_answer(turn=turn("x" * 400), stream=stream)
        assert isinstance([event async for event in answer][-1], Cancelled)
    assert await spent(row) == 0
    assert await booked() == {(0, 0, Decimal(0))}
    assert not upstream.requests


@pytest.mark.parametrize("left", [False, True], ids=["cancelled", "left"])
async def test_what_a_provider_has_counted_of_a_cancelled_answer_is_booked(
    user, provider, upstream, turn, budget, monkeypatch, left
):
    """The provider client reports it when the stream is closed."""

    async def answer(*args, on_billed, **kwargs):
        try:
            yield ["Hel"]
            await asyncio.Event().wait()
        finally:
            on_billed(Usage(7, 50, "provider"))

    row = await budget()
    monkeypatch.setattr(runtime.get().client, "stream_chat_batches", answer)
    with suppress(asyncio.CancelledError):
        async with streaming(user, turn("Hi")) as (task, _events, stream):
            if left:
                task.cancel()
            else:
                stream.cancel()
    assert await spent(row) == 57


async def test_an_answer_that_never_began_costs_nothing(
    user, provider, upstream, turn, budget
):
    row = await budget()
    upstream.status = 401
    assert isinstance(await end_of(user, turn("Hi")), Failed)
    assert await spent(row) == 0
    assert await reservations() == []
    assert await booked() == {(0, 0, Decimal(0))}


@pytest.fixture
def empty(upstream, monkeypatch):
    """Let the provider think, say nothing, and bill for it."""
    monkeypatch.setattr(retry, "_BASE_DELAY_S", 0.01)
    upstream.steps = ()
    upstream.usage = {"prompt_tokens": 5000, "completion_tokens": 100_000}


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
async def test_an_answer_without_a_word_costs_what_all_attempts_are_billed(
    user, provider, upstream, turn, budget, empty, reason
):
    tokens, dollars = await budget(10**6), await budget(1, unit=DOLLARS)
    upstream.reason = reason
    assert isinstance(await end_of(user, turn("Hi")), Failed)
    attempts = len(upstream.requests)
    assert attempts == (2 if reason == "stop" else 1)
    assert await spent(tokens) == attempts * 105_000
    assert await spent(dollars) == attempts * Decimal("0.205")
    assert await booked() == {
        (attempts * 5000, attempts * 100_000, attempts * Decimal("0.205"))
    }


async def test_an_attempt_without_a_word_is_billed_beside_the_one_that_answers(
    user, provider, upstream, turn, budget, empty
):
    row = await budget(10**6)
    # The provider is asked again, after the wait that follows its first answer.
    asked = asyncio.create_task(end_of(user, turn("Hi")))
    await upstream.answered.wait()
    upstream.steps, upstream.usage = (
        ("Hel", "lo"),
        {
            "prompt_tokens": 7,
            "completion_tokens": 3,
        },
    )
    end = await asked
    assert isinstance(end, Done)
    assert await spent(row) == 105_000 + 10
    assert await booked() == {(5007, 100_003, Decimal("0.205013"))}
    assert end.usage.output_tokens == 100_003


async def test_what_the_first_provider_bills_is_booked_beside_its_fallback(
    user, provider, upstream, turn, budget, empty
):
    tokens, dollars = await budget(10**6), await budget(1, unit=DOLLARS)
    async with running_upstream() as other:
        await in_database(add_fallback, provider, other.base_url)
        end = await end_of(user, turn("Hi"))
    assert isinstance(end, Done)
    # The client is sent what it can read later.
    assert (end.usage.input_tokens, end.usage.output_tokens) == (10_007, 200_003)
    assert end.cost == Decimal("0.41013")
    assert await spent(tokens) == 210_010
    assert await spent(dollars) == Decimal("0.41013")
    assert await booked() == {(10_007, 200_003, Decimal("0.41013"))}


async def test_an_answer_that_is_deleted_while_it_streams_has_cost_all_the_same(
    user, provider, upstream, turn, budget
):
    row = await budget()
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi")):
        await in_database(lambda: Conversation.objects.all().delete())
        go.set()
    assert await spent(row) == 10
    assert await reservations() == []


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("scenario", "output", "reasoning"),
    [("short", 4, 0), ("usage-every", 4, 0), ("reasoning", 6, 2)],
)
async def test_what_the_provider_counted_is_stored_once_with_its_cost(
    user, make_row, turn, settings, api, scenario, output, reasoning
):
    await make_row(api, needs_key=False)
    settings.LLMCHAT = settings.LLMCHAT | {f"{env_name(api)}_api_key": "sk-good"}
    done = await end_of(user, turn_for(turn, api, scenario))

    stored = await answer()
    counted = 11 if api == "gemini" else 21
    assert isinstance(done, Done)
    assert done.usage.source == stored.usage_source == "provider"
    assert (stored.input_tokens, stored.output_tokens) == (counted, output)
    assert stored.reasoning_tokens == reasoning
    assert stored.cost == Decimal(counted * 2 + output * 10) / 1_000_000
    conversation = await in_database(Conversation.objects.get)
    assert (conversation.output_tokens, conversation.cost) == (output, stored.cost)
