"""Budgets: reserved before a provider is called, settled after, and free of races."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from threading import Barrier
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llmchat.access.accounts import Account
from llmchat.access.budgets import Ledger
from llmchat.answers.events import Done
from llmchat.books.sweep import sweep
from llmchat.books.turn import Outcome
from llmchat.database import THREADS, in_database
from llmchat.errors import ChatError
from llmchat.models import Budget, Conversation, Message, Provider
from llmchat.providers.types import ChatMessage, Image, Options, Usage
from tests.support.access import add_fallback, reservations, spent
from tests.support.chat_fixtures import User, end_of, events_of
from tests.support.streaming import streaming
from tests.support.turns import begin_turn, end_stored, end_turn
from tests.support.upstream import running_upstream

DAY, MONTH = Budget.Period.DAY, Budget.Period.MONTH
TOKENS, DOLLARS = Budget.Unit.TOKENS, Budget.Unit.DOLLARS


async def refused(user, turn) -> ChatError:
    with pytest.raises(ChatError) as refusal:
        await events_of(user, turn)
    return refusal.value


async def test_the_most_an_answer_can_cost_is_reserved_and_its_cost_settled(
    user, provider, upstream, turn, budget
):
    tokens, dollars = await budget(), await budget(1, unit=DOLLARS)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi there", max_tokens=100)):
        # 8 characters in 1 message are estimated as 3 tokens; there are two retries.
        assert await reservations() == [3 * Decimal(103), 3 * Decimal("0.000203")]
        assert await spent(tokens) == 0
        go.set()
    assert await reservations() == []
    assert await spent(tokens) == 10
    assert await spent(dollars) == Decimal("0.000013")


@pytest.mark.parametrize(
    ("asked", "cap", "reserved"), [(None, None, 4096), (None, 50, 50), (100, 50, 50)]
)
async def test_an_answer_is_taken_to_be_as_long_as_it_may_become(
    user, provider, upstream, turn, budget, asked, cap, reserved
):
    await budget()
    await in_database(lambda: Provider.objects.update(max_output_tokens=cap))
    upstream.steps = ("Hel", go := asyncio.Event())
    async with streaming(user, turn("Hi", max_tokens=asked)):
        assert await reservations() == [3 * Decimal(reserved + 1)]
        go.set()
    assert [request["max_tokens"] for request in upstream.requests] == [reserved]


async def test_no_more_is_reserved_than_the_model_writes(
    user, provider, upstream, turn, budget
):
    await budget()
    model = {"name": provider.default_model, "max_output_tokens": 70}
    await in_database(lambda: provider.known_models.create(**model))
    upstream.steps = ("Hel", go := asyncio.Event())
    async with streaming(user, turn("Hi")):
        assert await reservations() == [3 * Decimal(70 + 1)]
        go.set()
    assert [request["max_tokens"] for request in upstream.requests] == [70]


async def test_tools_and_images_are_reserved_too(
    user, provider, upstream, turn, budget
):
    await budget()
    upstream.steps = ("Hel", go := asyncio.Event())
    tool = {"type": "function", "function": {"name": "x" * 964}}
    message = ChatMessage("user", "Hi there", images=(Image(url="https://a/"),))
    asked = turn(max_tokens=100, options=Options(tools=(tool,)))
    async with streaming(user, replace(asked, messages=(message,))):
        # 3 tokens of text and half of the characters of the tool's JSON, in a list.
        inputs = 3 + 5000 + len(json.dumps([tool], separators=(",", ":"))) // 2
        assert await reservations() == [3 * Decimal(inputs + 100)]
        go.set()


async def test_without_a_budget_no_limit_is_asked_for(user, provider, upstream, turn):
    assert isinstance(await end_of(user, turn("Hi")), Done)
    assert "max_tokens" not in upstream.requests[0]


async def test_a_fallback_is_within_the_reservation_and_has_its_limit(
    user, provider, upstream, turn, budget
):
    await budget()
    dollars = await budget(1, unit=DOLLARS)
    upstream.status = 500
    async with running_upstream() as other:
        await in_database(add_fallback, provider, other.base_url)
        other.steps = ("Hel", go := asyncio.Event(), "lo")
        async with streaming(user, turn("Hi", max_tokens=100)):
            both = [6 * Decimal(101), 3 * (Decimal("0.000201") + Decimal("0.00201"))]
            assert await reservations() == both
            go.set()
    assert other.requests[0]["max_tokens"] == 100
    assert await spent(dollars) == Decimal("0.00013")


@pytest.mark.parametrize(("first", "second"), [(70, None), (None, 70), (90, 70)])
async def test_each_provider_is_asked_and_reserved_for_by_its_own_limits(
    user, provider, upstream, turn, budget, fallback, spare, first, second
):
    """The low limit of one model does not cut the answer of another in its place."""
    tokens, dollars = await budget(), await budget(1, unit=DOLLARS)

    def limit() -> None:
        for row, most in ((provider, first), (fallback, second)):
            row.known_models.create(name=row.default_model, max_output_tokens=most)

    await in_database(limit)
    upstream.status = 401
    spare.steps = ("Hel", go := asyncio.Event())
    here, there = first or 500, second or 500
    async with streaming(user, turn("Hi", max_tokens=500)):
        cost = Decimal(1 + 2 * here + 10 + 20 * there) / 1_000_000
        assert await reservations() == [3 * Decimal(2 + here + there), 3 * cost]
        go.set()
    asked = [*upstream.requests, *spare.requests]
    assert [request["max_tokens"] for request in asked] == [here, there]
    assert await spent(tokens) > 0 < await spent(dollars)


@pytest.mark.parametrize("cap", [None, 50])
async def test_a_limit_of_the_first_provider_is_not_the_fallbacks(
    user, provider, upstream, turn, budget, fallback, spare, cap
):
    await budget(10**6)

    def limit() -> None:
        provider.max_output_tokens, fallback.max_output_tokens = 40, cap
        provider.save()
        fallback.save()

    await in_database(limit)
    upstream.status = 401
    spare.steps = ("Hel", go := asyncio.Event())
    async with streaming(user, turn("Hi")):
        assert await reservations() == [3 * Decimal(1 + 40 + 1 + (cap or 4096))]
        go.set()
    asked = [*upstream.requests, *spare.requests]
    assert [request["max_tokens"] for request in asked] == [40, cap or 4096]


async def test_nothing_is_reserved_for_a_fallback_whose_price_is_not_known(
    user, provider, upstream, turn, budget, fallback, spare
):
    await budget()
    await in_database(
        lambda: Provider.objects.filter(name="spare").update(input_price=None)
    )
    upstream.steps = ("Hel", go := asyncio.Event())
    async with streaming(user, turn("Hi", max_tokens=100)):
        assert await reservations() == [3 * Decimal(101)]
        go.set()


async def unconfigured(row: Provider, lacks: str) -> None:
    fields = {"needs_key": True} if lacks == "key" else {"base_url": ""}
    await in_database(lambda: Provider.objects.filter(pk=row.pk).update(**fields))
    await in_database(row.refresh_from_db)


async def unpriced(name: str) -> None:
    rows = Provider.objects.filter(name=name)
    await in_database(lambda: rows.update(output_price=None))


LACKS = pytest.mark.parametrize("lacks", ["key", "address"])


@LACKS
@pytest.mark.parametrize("unit", [TOKENS, DOLLARS])
async def test_a_turn_that_nobody_is_left_to_answer_names_what_is_missing(
    user, provider, upstream, turn, budget, fallback, spare, lacks, unit
):
    await budget(unit=unit)
    await unpriced("spare")
    await unconfigured(provider, lacks)
    error = await refused(user, turn("Hi"))
    assert (error.code, error.status) == (f"{lacks}_not_configured", 503)
    assert "Test" in error.text
    assert await in_database(Message.objects.count) == 0
    assert await reservations() == []
    assert (upstream.requests, spare.requests) == ([], [])


@LACKS
async def test_what_cannot_be_asked_needs_no_price_and_has_nothing_reserved(
    user, provider, upstream, turn, budget, fallback, spare, lacks
):
    tokens, dollars = await budget(), await budget(1, unit=DOLLARS)
    await unpriced("test")
    await unconfigured(provider, lacks)
    spare.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi", max_tokens=100)):
        assert await reservations() == [3 * Decimal(101), 3 * Decimal("0.00201")]
        go.set()
    assert spare.requests[0]["max_tokens"] == 100
    assert not upstream.requests
    assert await spent(tokens) > 0 < await spent(dollars)


async def test_a_budget_that_is_used_up_refuses_the_turn_and_says_when_it_renews(
    user, provider, upstream, turn, budget
):
    row = await budget(10)
    assert isinstance(await end_of(user, turn("Hi")), Done)

    error = await refused(user, turn("More"))
    renews_at = row.renews_at(timezone.now())
    assert (error.code, error.status) == ("budget_exceeded", 429)
    assert error.text == (
        "Your daily token budget is used up; "
        f"it renews on {renews_at:%Y-%m-%d at %H:%M} UTC"
    )
    seconds = (renews_at - timezone.now()).total_seconds()
    assert error.retry_after == pytest.approx(seconds, abs=2)
    assert len(upstream.requests) == 1
    assert await in_database(Conversation.objects.count) == 1


async def test_what_is_only_reserved_may_be_asked_for_again_soon(
    user, provider, upstream, turn, budget
):
    await budget(10)
    upstream.steps = ("Hel", go := asyncio.Event())
    async with streaming(user, turn("Hi")):
        error = await refused(user, turn("More", session_id="s-2"))
        assert error.code == "budget_exceeded"
        assert "fully reserved by answers in progress" in error.text
        assert error.retry_after == 5
        go.set()


@pytest.mark.parametrize("limit", [1, 4097], ids=["one token", "one answer"])
@pytest.mark.parametrize("of_group", [False, True], ids=["user", "group"])
async def test_of_fifty_at_a_limit_of_one_one_gets_through(
    user, provider, upstream, turn, budget, settings, limit, of_group
):
    settings.LLMCHAT = settings.LLMCHAT | {"max_streams_per_user": 50}
    users = [user]
    if of_group:
        users, group = await in_database(members, 50)
        await budget(limit, user=None, group=group)
    else:
        await budget(limit)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    asked = [
        asyncio.create_task(
            events_of(users[n % len(users)], turn("Hi", session_id=f"s-{n}"))
        )
        for n in range(50)
    ]
    async with asyncio.timeout(60):
        while sum(task.done() for task in asked) < 49:
            await asyncio.wait(
                [task for task in asked if not task.done()],
                return_when=asyncio.FIRST_COMPLETED,
            )
        go.set()
        ends = await asyncio.gather(*asked, return_exceptions=True)
    refusals = [end for end in ends if isinstance(end, ChatError)]
    assert {error.code for error in refusals} == {"budget_exceeded"}
    assert len(refusals) == 49
    assert len(upstream.requests) == 1
    assert await in_database(Message.objects.filter(role="assistant").count) == 1


def members(count: int) -> tuple[list, Group]:
    group = Group.objects.create(name="team")
    made = [User.objects.create_user(f"member{n}") for n in range(count)]
    group.user_set.set(made)
    return made, group


async def test_workers_that_ask_at_the_same_moment_do_not_overdraw(
    user, provider, upstream, turn, budget
):
    """Each has its own connection, like a process."""
    users, group = await in_database(members, THREADS)
    await budget(1, user=None, group=group)
    barrier = Barrier(THREADS)

    def begin(member) -> str:
        barrier.wait(10)
        try:
            begin_turn(member.pk, turn("Hi"))
        except ChatError as exc:
            return exc.code
        return "begun"

    ends = await asyncio.gather(*(in_database(begin, member) for member in users))
    assert sorted(ends) == ["begun"] + (THREADS - 1) * ["budget_exceeded"]


async def test_a_group_budget_is_shared_by_its_members_and_nobody_else(
    user, provider, upstream, turn, budget
):
    (ann, bob), group = await in_database(members, 2)
    row = await budget(10, user=None, group=group)
    await end_of(ann, turn("Hi"))
    assert await spent(row) == 10
    error = await refused(bob, turn("Hi"))
    assert error.text.startswith("Your group's daily token budget is used up")
    assert isinstance(await end_of(user, turn("Hi")), Done)


async def test_the_strictest_of_several_budgets_counts(
    user, provider, upstream, turn, budget
):
    day = await budget(1000)
    month = await budget(5, period=MONTH)
    await end_of(user, turn("Hi"))
    assert "monthly" in (await refused(user, turn("Hi"))).text
    assert await spent(day) == await spent(month) == 10
    assert await reservations() == []


async def test_a_budget_renews_with_its_period(user, provider, upstream, turn, budget):
    yesterday = timezone.now().date() - timedelta(days=1)
    row = await budget(10, spent=10, period_start=yesterday)
    assert isinstance(await end_of(user, turn("Hi")), Done)
    assert await spent(row) == 10
    assert row.period_start == timezone.now().date()
    assert (await refused(user, turn("Hi"))).code == "budget_exceeded"


@pytest.mark.parametrize("period", Budget.Period)
def test_who_comes_late_over_midnight_leaves_what_others_have_spent_since(period):
    """The late process's clock is behind that of the one that was quicker."""
    first, late = date(2026, 2, 1), datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
    row = Budget(period=period, limit=10, period_start=first, spent=7, told_at=8)
    Account(row).add(Decimal(2), late)
    assert (row.spent, row.period_start, row.told_at) == (9, first, 8)


async def test_a_start_that_waits_until_after_midnight_is_of_the_new_day(
    user, budget, monkeypatch
):
    """What others have spent since midnight counts, and so does the time of renewal."""
    midnight = datetime(2026, 2, 1, tzinfo=UTC)
    await budget(10, spent=10, period_start=midnight.date())
    monkeypatch.setattr(timezone, "now", lambda: midnight - timedelta(seconds=1))
    ledger = Ledger()

    @transaction.atomic
    def begin() -> None:
        monkeypatch.setattr(timezone, "now", lambda: midnight)
        ledger.lock({user.pk: set()}, (), {}, of_each=False)
        ledger.read_reserved()
        drawn = ledger.drawn_on(user.pk, None)
        ledger.reserve(drawn, uuid4(), Usage(1, 1, "estimated"), None)

    with pytest.raises(ChatError, match="is used up; it renews on 2026-02-02"):
        await in_database(begin)


async def test_a_budget_of_nothing_allows_nothing(
    user, provider, upstream, turn, budget
):
    await budget(0)
    assert (await refused(user, turn("Hi"))).code == "budget_exceeded"
    assert not upstream.requests


async def test_money_is_not_spent_on_an_unknown_price(
    user, provider, upstream, turn, budget
):
    await budget(1, unit=DOLLARS)
    await in_database(lambda: Provider.objects.update(output_price=None))
    error = await refused(user, turn("Hi"))
    assert (error.code, error.status) == ("price_not_configured", 503)
    assert error.text == (
        "The model model-1 of Test has no price yet, so a budget in US dollars does "
        "not allow it: choose another model, or ask an administrator to enter the price"
    )
    assert not upstream.requests


@pytest.mark.parametrize("deleted", [False, True], ids=["kept", "deleted"])
async def test_what_a_dead_process_had_reserved_is_freed(
    user, provider, upstream, turn, budget, deleted
):
    row = await budget(10)

    def die() -> None:
        begin_turn(user.pk, turn("Hi"))
        # No row says that this worker is alive.
        Message.objects.filter(state="streaming").update(worker="elsewhere/1/2")
        if deleted:
            Conversation.objects.all().delete()

    await in_database(die)
    assert len(await reservations()) == 1
    await in_database(sweep)
    assert await reservations() == []
    assert await spent(row) == 0
    assert isinstance(await end_of(user, turn("Hi", session_id="s-2")), Done)


async def test_the_sweep_leaves_what_a_living_process_has_reserved(
    user, provider, upstream, turn, budget
):
    await budget()
    upstream.steps = ("Hel", go := asyncio.Event())
    async with streaming(user, turn("Hi")):
        await in_database(sweep)
        assert len(await reservations()) == 1
        go.set()


async def test_an_end_is_settled_once(user, provider, turn, budget):
    row = await budget()

    def end_twice() -> None:
        begun = begin_turn(user.pk, turn("Hi"))
        usage = Usage(7, 3, "provider")
        ending = Outcome(Message.State.COMPLETE, "Hello", usage, "model-1")
        end_stored(begun, ending)
        end_stored(begun, ending)

    await in_database(end_twice)
    assert await spent(row) == 10


async def test_without_any_budget_none_is_asked_for(user, provider, turn):
    def statements() -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            begun = begin_turn(user.pk, turn("Hi"))
            usage = Usage(7, 3, "provider")
            end_turn(begun, Outcome(Message.State.COMPLETE, "Hello", usage, "m"))
        return [query["sql"] for query in queries.captured_queries]

    await in_database(statements)  # includes what a process reads only once
    sent = await in_database(statements)
    assert [sql for sql in sent if "budget" in sql or "reservation" in sql] == []
