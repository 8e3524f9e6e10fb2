"""Budgets of API keys, in addition to those of their users and groups."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError

from accounts.models import ApiKey
from llmchat.answers.events import Done
from llmchat.books.sweep import sweep
from llmchat.database import in_database
from llmchat.errors import ChatError
from llmchat.models import Budget, Reservation
from tests.support.access import reservations, spent
from tests.support.api_keys import make_key
from tests.support.chat_fixtures import events_of
from tests.support.streaming import streaming


@pytest.fixture
async def key(user) -> ApiKey:
    return (await make_key(user))[0]


@pytest.fixture
def of_key(budget, key):
    async def make(limit, **fields):
        return await budget(limit, user=None, api_key=key, **fields)

    return make


async def refused(user, turn, key=None) -> ChatError:
    with pytest.raises(ChatError) as refusal:
        await events_of(user, turn, key and key.pk)
    return refusal.value


async def test_a_key_draws_on_its_budget_and_on_that_of_its_user(
    user, provider, upstream, turn, budget, key, of_key
):
    theirs, its = await budget(1000), await of_key(10)
    assert isinstance((await events_of(user, turn("Hi"), key.pk))[-1], Done)
    assert await spent(theirs) == await spent(its) == 10

    error = await refused(user, turn("More"), key)
    assert error.code == "budget_exceeded"
    assert error.text.startswith("The API key's daily token budget is used up; it")
    # The user can continue, with the page and with another key.
    other = (await make_key(user))[0]
    await events_of(user, turn("Hi"))
    await events_of(user, turn("Hi"), other.pk)
    assert (await spent(theirs), await spent(its)) == (30, 10)


async def test_a_used_up_budget_of_the_user_stops_the_key(
    user, provider, upstream, turn, budget, key, of_key
):
    await budget(0)
    its = await of_key(1000)
    assert (await refused(user, turn("Hi"), key)).text.startswith("Your daily")
    assert await spent(its) == 0


async def test_what_a_key_may_spend_is_reserved_with_the_limit_of_the_answer(
    user, provider, upstream, turn, key, of_key
):
    await of_key(1000)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi there", max_tokens=100), key.pk):
        assert await reservations() == [3 * Decimal(103)]
        assert upstream.requests[0]["max_tokens"] == 100
        go.set()
    assert await reservations() == []


async def test_of_many_at_a_limit_of_one_one_gets_through(
    user, provider, upstream, turn, key, of_key, settings
):
    settings.LLMCHAT = settings.LLMCHAT | {"max_streams_per_user": 20}
    its = await of_key(1)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    asked = [
        asyncio.create_task(events_of(user, turn("Hi", session_id=f"s-{n}"), key.pk))
        for n in range(20)
    ]
    async with asyncio.timeout(60):
        while sum(task.done() for task in asked) < 19:
            running = [task for task in asked if not task.done()]
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        go.set()
        ends = await asyncio.gather(*asked, return_exceptions=True)
    codes = [end.code for end in ends if isinstance(end, ChatError)]
    assert codes == ["budget_exceeded"] * 19
    assert await spent(its) == 10


async def test_a_key_that_is_deleted_meanwhile_takes_its_budget_along(
    user, provider, upstream, turn, budget, key, of_key
):
    theirs, _ = await budget(1000), await of_key(1000)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi"), key.pk):
        await in_database(key.delete)
        go.set()
    assert await spent(theirs) == 10
    assert await in_database(Reservation.objects.count) == 0


async def test_a_budget_of_a_key_begins_with_what_the_key_has_asked(
    user, provider, upstream, turn, key, of_key
):
    other = (await make_key(user))[0]
    for asks in (None, other.pk, key.pk, key.pk):
        await events_of(user, turn("Hi"), asks)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi"), key.pk):
        row = await of_key(30)
        assert row.spent == 20
        go.set()
    await in_database(sweep)  # which settles what was running
    assert await spent(row) == 30
    assert (await refused(user, turn("Hi"), key)).code == "budget_exceeded"
    await events_of(user, turn("Hi"), other.pk)


async def test_a_budget_has_one_owner_and_a_key_one_of_a_kind(user, key, of_key):
    await of_key(1)
    fields = {"limit": 1, "period": "day", "unit": "tokens"}
    for owners in ({"api_key": key}, {"api_key": key, "user": user}, {}):
        row = Budget(**fields, **owners)
        with pytest.raises(ValidationError):
            await in_database(row.full_clean)
        with pytest.raises(IntegrityError):
            await in_database(row.save)
