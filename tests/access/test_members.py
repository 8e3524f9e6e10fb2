"""A budget that a group shares: each member is notified once that little is left."""

from __future__ import annotations

from datetime import date

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from llmchat.books.turn import Outcome
from llmchat.database import in_database
from llmchat.models import Budget, BudgetUse, Message, spending
from llmchat.providers.types import Usage
from llmchat.reports.own_usage import budgets_of
from tests.support.chat_fixtures import User, end_of
from tests.support.deletion import delete_users
from tests.support.turns import begin_turn, end_turn

# Each answer of the upstream uses 10 tokens.


@pytest.fixture
async def team(provider, upstream):
    """Two members of a group."""

    def make():
        group = Group.objects.create(name="team")
        members = [User.objects.create_user(name) for name in ("cid", "bob")]
        group.user_set.set(members)
        return group, *members

    return await in_database(make)


@pytest.fixture
async def told(turn):
    """Ask as a user; return `of` and `spent` of the notice, None without a notice."""

    async def ask(somebody):
        notice = (await end_of(somebody, turn("Hi"))).notice
        return None if notice is None else (notice.of, notice.spent)

    return ask


async def test_each_member_is_told_once_a_period(team, told, budget):
    group, cid, bob = team
    row = await budget(25, user=None, group=group)
    assert await told(cid) is None
    assert await told(bob) == ("group", 20)
    assert await told(cid) == ("group", 30)
    rows = Budget.objects.filter(pk=row.pk)
    await in_database(lambda: rows.update(limit=1000, notice_percent=1))
    assert [await told(one) for one in (cid, bob, bob, cid)] == [
        ("group", 40),
        ("group", 50),
        None,
        None,
    ]

    # The next period has begun, in which nothing is spent yet.
    uses = BudgetUse.objects.all()
    await in_database(lambda: uses.update(period_start=date(2026, 1, 1)))
    await in_database(lambda: rows.update(period_start=date(2026, 1, 1)))
    assert [await told(one) for one in (bob, cid, bob)] == [
        ("group", 10),
        ("group", 20),
        None,
    ]


async def test_what_a_member_was_told_is_no_spending(team, told, budget):
    group, cid, _ = team
    row = await budget(10, user=None, group=group)
    assert await told(cid) == ("group", 10)
    (standing,) = await in_database(budgets_of, cid.pk)
    assert (standing.spent, standing.left) == (10, 0)

    # It becomes a budget for each member, as on the group's page in the admin.
    @transaction.atomic
    def change():
        row.per_member = True
        spending.lock_users(row)
        row.save()
        spending.recount(row)

    await in_database(change)
    use = await in_database(BudgetUse.objects.get)
    assert use.period_start is None  # still to be counted


async def test_a_unit_that_is_changed_is_told_anew(team, told, budget):
    group, cid, _ = team
    row = await budget(11, user=None, group=group)
    assert await told(cid) == ("group", 10)

    @transaction.atomic
    def change():
        row.period = Budget.Period.MONTH
        spending.lock_users(row)
        row.save()
        spending.recount(row)

    await in_database(change)
    assert await told(cid) == ("group", 20)


def ended(begun) -> None:
    outcome = Outcome(Message.State.COMPLETE, "Hello", Usage(7, 3, "provider"), "m")
    end_turn(begun, outcome)


async def test_a_member_who_is_deleted_meanwhile_is_passed_over(
    team, turn, budget, told
):
    group, cid, bob = team
    await budget(11, user=None, group=group)
    begun = await in_database(begin_turn, cid.pk, turn("Hi"))
    await in_database(lambda: delete_users(User.objects.filter(pk=cid.pk)))
    await in_database(ended, begun)
    assert await in_database(BudgetUse.objects.count) == 0
    assert await told(bob) == ("group", 20)


async def test_who_was_told_costs_one_query_and_nobody_is_asked_for_before(
    team, turn, budget
):
    group, cid, _ = team
    row = await budget(10_000, user=None, group=group)

    def asked() -> int:
        begun = begin_turn(cid.pk, turn("Hi"))
        with CaptureQueriesContext(connection) as queries:
            ended(begun)
        return sum(BudgetUse._meta.db_table in one["sql"] for one in queries)

    assert await in_database(asked) == 0
    rows = Budget.objects.filter(pk=row.pk)
    await in_database(lambda: rows.update(notice_percent=0))
    assert await in_database(asked) == 0
    await in_database(lambda: rows.update(notice_percent=1, limit=1000))
    assert await in_database(asked) == 2
    assert await in_database(asked) == 1
