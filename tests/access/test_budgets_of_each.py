"""Budgets of which each user has their own: the default one, and those of members."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from threading import Barrier

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from llmchat.answers.events import Done
from llmchat.api.usage_views import budget_fields
from llmchat.api.wire import payload
from llmchat.books.sweep import sweep
from llmchat.books.turn import Begun, Outcome
from llmchat.database import THREADS, in_database
from llmchat.errors import ChatError
from llmchat.models import (
    Budget,
    BudgetUse,
    Conversation,
    Message,
    Reservation,
    spending,
)
from llmchat.models.budgets import today
from llmchat.providers.types import Usage
from llmchat.reports.own_usage import budgets_of
from tests.support.access import reservations, spent
from tests.support.chat_fixtures import User, end_of, events_of
from tests.support.streaming import streaming
from tests.support.turns import begin_turn, end_turn

DAY, MONTH = Budget.Period.DAY, Budget.Period.MONTH
DOLLARS = Budget.Unit.DOLLARS


@pytest.fixture
def default(budget):
    """Make a budget that everybody has."""

    async def make(limit=10, **fields):
        return await budget(limit, user=None, is_default=True, **fields)

    return make


async def refused(user, turn) -> ChatError:
    with pytest.raises(ChatError) as refusal:
        await events_of(user, turn)
    return refusal.value


async def uses() -> dict[str, Decimal]:
    rows = BudgetUse.objects.values_list("user__username", "spent")
    return await in_database(lambda: dict(rows))


def ended(begun: Begun, tokens: int = 10) -> bool:
    """Store the end of an answer; return whether the answer is complete then."""
    usage = Usage(tokens - 3, 3, "provider")
    end_turn(begun, Outcome(Message.State.COMPLETE, "Hello", usage, "m"))
    return Message.objects.filter(pk=begun.message_id, state="complete").exists()


async def test_everybody_has_a_default_budget_of_their_own(
    user, provider, upstream, turn, default
):
    await default(10)
    other = await in_database(User.objects.create_user, "bob")
    assert isinstance(await end_of(user, turn("Hi")), Done)
    error = await refused(user, turn("Hi"))
    assert (error.code, error.status) == ("budget_exceeded", 429)
    assert error.text.startswith("Your daily token budget is used up")

    assert isinstance(await end_of(other, turn("Hi")), Done)
    assert await uses() == {user.username: 10, "bob": 10}
    assert await reservations() == []


async def test_a_budget_of_the_user_takes_the_place_of_the_default_one(
    user, provider, upstream, turn, default, budget
):
    await default(0)
    own = await budget(20)
    await end_of(user, turn("Hi"))
    assert await uses() == {}
    # A budget of another period or unit does not replace it.
    await default(0, period=MONTH)
    assert "monthly" in (await refused(user, turn("Hi"))).text
    await in_database(Budget.objects.filter(period=MONTH).delete)
    await default(0, unit=DOLLARS)
    assert "money" in (await refused(user, turn("Hi"))).text
    await in_database(own.refresh_from_db)
    assert own.spent == 10


async def test_the_default_one_applies_again_with_what_was_used_meanwhile(
    user, provider, upstream, turn, default, budget
):
    await default(30)
    await end_of(user, turn("Hi"))
    own = await budget(1000)
    assert own.spent == 10
    await end_of(user, turn("Hi"))
    await in_database(own.delete)
    await end_of(user, turn("Hi"))
    assert await uses() == {user.username: 30}
    assert (await refused(user, turn("Hi"))).code == "budget_exceeded"


async def test_each_member_of_a_group_has_one_and_nobody_else(
    user, provider, upstream, turn, budget
):
    def members():
        group = Group.objects.create(name="team")
        made = [User.objects.create_user(name) for name in ("cid", "bob")]
        group.user_set.set(made)
        return group, made

    group, (cid, bob) = await in_database(members)
    await budget(10, user=None, group=group, per_member=True)
    shared = await budget(100, user=None, group=group)
    await end_of(cid, turn("Hi"))
    error = await refused(cid, turn("Hi"))
    assert error.text.startswith("Your daily token budget is used up")
    assert isinstance(await end_of(bob, turn("Hi")), Done)
    assert isinstance(await end_of(user, turn("Hi")), Done)
    assert await uses() == {"cid": 10, "bob": 10}
    await in_database(shared.refresh_from_db)
    assert shared.spent == 20


async def test_what_a_user_has_reserved_is_nobody_else_s(
    user, provider, upstream, turn, default
):
    await default(10)
    other = await in_database(User.objects.create_user, "bob")
    upstream.steps = ("Hel", go := asyncio.Event())
    async with streaming(user, turn("Hi")):
        error = await refused(user, turn("Hi", session_id="s-2"))
        assert "fully reserved by answers in progress" in error.text
        async with streaming(other, turn("Hi")):
            assert len(await reservations()) == 2
            go.set()


async def test_workers_that_ask_at_the_same_moment_do_not_overdraw(
    user, provider, upstream, turn, default
):
    """Each has its own connection, like a process, and no `BudgetUse` exists."""
    await default(1)
    others = [await in_database(User.objects.create_user, f"u{n}") for n in range(2)]
    barrier = Barrier(THREADS)

    def begin(number: int) -> str:
        barrier.wait(10)
        try:
            begin_turn(others[number % 2].pk, turn("Hi", session_id=f"s-{number}"))
        except ChatError as exc:
            return exc.code
        return "begun"

    ends = await asyncio.gather(*(in_database(begin, n) for n in range(THREADS)))
    assert sorted(ends) == 2 * ["begun"] + (THREADS - 2) * ["budget_exceeded"]
    assert await in_database(BudgetUse.objects.count) == 2


async def test_a_deleted_user_is_forgotten_and_a_deleted_budget_is_no_limit(
    user, provider, turn, default
):
    row = await default(1000)

    def begin() -> Begun:
        return begin_turn(user.pk, turn("Hi"))

    begun = await in_database(begin)
    await in_database(row.delete)
    assert await in_database(ended, begun)
    assert await in_database(Reservation.objects.count) == 0
    await default(1000)
    begun = await in_database(begin)
    await in_database(user.delete)
    assert not await in_database(ended, begun)
    assert await in_database(BudgetUse.objects.count) == 0
    assert await reservations() == []


async def test_where_no_such_budget_is_nothing_is_asked_for(
    user, provider, turn, budget
):
    await budget(1000)

    def statements() -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            ended(begin_turn(user.pk, turn("Hi")))
        return [query["sql"] for query in queries.captured_queries]

    await in_database(statements)  # includes what a process reads only once
    sent = await in_database(statements)
    assert [sql for sql in sent if "budgetuse" in sql] == []
    assert len([sql for sql in sent if 'FROM "llmchat_budget"' in sql]) == 2


# What was used before the budget was made.


async def test_a_budget_begins_with_what_its_period_has_cost(
    user, provider, upstream, turn, budget, default
):
    def team():
        group = Group.objects.create(name="team")
        bob = User.objects.create_user("bob")
        group.user_set.add(user, bob)
        return group, bob

    group, bob = await in_database(team)
    await end_of(user, turn("Hi"))
    await end_of(bob, turn("Hi"))
    own, money = await budget(), await budget(unit=DOLLARS)
    shared = await budget(user=None, group=group)
    assert (own.spent, money.spent) == (10, Decimal("0.000013"))
    assert shared.spent == 20

    await in_database(own.delete)
    await default(10)
    assert (await refused(user, turn("Hi"))).code == "budget_exceeded"
    assert await uses() == {user.username: 10}


async def test_an_answer_that_is_running_then_is_settled_once_it_has_ended(
    user, provider, turn, budget, default
):
    begun = await in_database(begin_turn, user.pk, turn("Hi"))
    own = await budget(unit=DOLLARS)
    await default(1000)
    # The first answer to draw on it makes the user's `BudgetUse`.
    second = await in_database(begin_turn, user.pk, turn("Hi", session_id="s-2"))
    await in_database(sweep)
    assert await in_database(Reservation.objects.filter(is_late=True).count) == 2

    assert await in_database(ended, begun)
    assert await in_database(ended, second)
    await in_database(sweep)
    await in_database(sweep)
    assert await uses() == {user.username: 20}
    await in_database(own.refresh_from_db)
    assert own.spent == 2 * Decimal("0.000013")
    assert await reservations() == []


async def test_an_answer_over_midnight_counts_where_it_ends_whenever_it_is_counted(
    user, provider, turn, budget
):
    settled = await budget()
    assert await in_database(lambda: ended(begin_turn(user.pk, turn("Hi"))))
    midnight = datetime.combine(today(), time(), UTC)
    second = timedelta(seconds=1)
    of_user = Message.objects.filter(user=user, role="assistant")
    moved = {"created_at": midnight - second, "finished_at": midnight + second}
    await in_database(lambda: of_user.update(**moved))
    later = await budget(user=None, is_default=True)
    assert await in_database(spending.spent_by, later, user.pk) == 10
    assert await spent(settled) == 10
    moved["finished_at"] = midnight - second / 2
    await in_database(lambda: of_user.update(**moved))
    assert await in_database(spending.spent_by, later, user.pk) == 0


async def test_one_that_is_deleted_meanwhile_is_let_go(user, provider, turn, budget):
    begun = await in_database(begin_turn, user.pk, turn("Hi"))
    own = await budget()
    await in_database(Conversation.objects.all().delete)
    assert not await in_database(ended, begun)
    await in_database(sweep)
    await in_database(own.refresh_from_db)
    assert own.spent == 0
    assert await reservations() == []


# The notice.


async def test_the_answer_that_a_budget_is_nearly_used_up_by_says_so_once(
    user, provider, upstream, turn, default, budget
):
    await default(25)
    await budget(35, period=MONTH)
    told = [(await end_of(user, turn("Hi"))).notice for _ in range(3)]
    assert told[0] is None
    assert (told[1].of, told[1].period, told[1].limit) == ("user", "day", 25)
    assert (told[1].spent, told[1].percent) == (20, 80)
    # The daily budget's notice was given; now it is the other budget's turn.
    assert (told[2].period, told[2].spent, told[2].percent) == ("month", 30, 85)


async def test_of_several_the_fullest_is_told_and_none_at_nothing(
    user, provider, upstream, turn, budget
):
    await budget(11)
    await budget(10, period=MONTH)
    notice = (await end_of(user, turn("Hi"))).notice
    assert (notice.period, notice.percent) == ("month", 100)
    await in_database(Budget.objects.all().delete)
    row = await budget(25, notice_percent=0)
    assert row.spent == 10
    assert (await end_of(user, turn("Hi"))).notice is None


async def test_what_was_spent_before_a_budget_came_is_told_too(
    user, provider, upstream, turn, default, budget
):
    await end_of(user, turn("Hi"))
    await default(25)  # of which 10 are spent, and will be 20
    await budget(11, period=MONTH)
    first = (await end_of(user, turn("Hi"))).notice
    assert (first.period, first.percent) == ("month", 181)
    await in_database(Budget.objects.filter(period=MONTH).delete)
    assert (await end_of(user, turn("Hi"))).notice is None  # it was due with the first


async def test_an_amount_that_is_changed_is_told_anew(
    user, provider, upstream, turn, budget
):
    row = await budget(1000)
    limits = Budget.objects.filter(pk=row.pk)
    assert (await end_of(user, turn("Hi"))).notice is None
    await in_database(lambda: limits.update(limit=24))
    # The amount spent is already beyond the new threshold.
    assert (await end_of(user, turn("Hi"))).notice.percent == 83
    assert (await end_of(user, turn("x"))).notice is None
    await in_database(lambda: limits.update(limit=50))
    assert (await end_of(user, turn("Hi"))).notice.percent == 80
    await in_database(lambda: limits.update(period_start=date(2026, 1, 1)))
    await in_database(lambda: limits.update(limit=10))
    assert (await end_of(user, turn("Hi"))).notice.percent == 100


async def test_clients_hear_of_it_with_the_end(user, provider, upstream, turn, default):
    await default(10)
    end = await end_of(user, turn("Hi"))
    told = payload(end)["budgetNotice"]
    assert told.pop("renewsAt").endswith("T00:00:00+00:00")
    figures = {"limit": "10", "spent": "10", "percent": 100}
    assert told == {"period": "day", "unit": "tokens", "of": "user"} | figures
    (standing,) = await in_database(budgets_of, user.pk)
    shown = budget_fields(standing)
    assert (shown["spent"], shown["left"], shown["of"]) == ("10", "0", "user")
    assert (shown["noticePercent"], shown["notice"]) == (80, True)


async def test_what_nobody_has_drawn_on_yet_is_shown_as_it_will_be(
    user, provider, upstream, turn, default, budget
):
    await end_of(user, turn("Hi"))
    await default(100)
    assert [row.spent for row in await in_database(budgets_of, user.pk)] == [10]
    # The user's own budget replaces it here, too.
    await budget(50)
    (standing,) = await in_database(budgets_of, user.pk)
    assert (standing.budget.limit, standing.spent) == (50, 10)


# The rows.


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "Choose one user, one group or one API key"),
        ({"per_member": True, "is_default": True}, "Choose a group, or turn off"),
    ],
)
def test_a_budget_has_one_owner_or_is_the_default(fields, words):
    with pytest.raises(ValidationError, match=words):
        Budget(limit=1, **fields).full_clean()


@pytest.mark.django_db
def test_there_is_one_default_budget_of_a_period_and_unit():
    Budget.objects.create(limit=1, is_default=True)
    Budget.objects.create(limit=1, is_default=True, period=MONTH)
    with pytest.raises(IntegrityError):
        Budget.objects.create(limit=2, is_default=True)
