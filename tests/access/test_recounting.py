"""Budgets that are changed while answers run: none of the answers' cost is lost."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from llmchat.access import memory
from llmchat.books.sweep import sweep
from llmchat.books.turn import Begun, Outcome
from llmchat.database import in_database
from llmchat.models import Budget, BudgetUse, Message, Reservation, spending
from llmchat.providers.types import Usage
from tests.support.turns import begin_turn, end_stored

DAY, MONTH = Budget.Period.DAY, Budget.Period.MONTH
# Each answer uses 10 tokens.


@pytest.fixture
async def group(user):
    """A group that the user is a member of."""

    def make():
        row = Group.objects.create(name="team")
        row.user_set.add(user)
        return row

    return await in_database(make)


@transaction.atomic
def change(row: Budget, **fields: object) -> None:
    """Change a budget as the admin does."""
    for name, value in fields.items():
        setattr(row, name, value)
    spending.lock_users(row)
    row.save(update_fields=[*fields])
    spending.recount(row)


def ended(begun: Begun) -> None:
    outcome = Outcome(Message.State.COMPLETE, "Hello", Usage(7, 3, "provider"), "m")
    end_stored(begun, outcome)


def standing(row: Budget, user) -> int:
    """Return what is spent, once all answers have ended and a sweep has run."""
    sweep()
    assert not Reservation.objects.exists()
    row.refresh_from_db()
    if not row.is_of_each:
        return int(row.spent)
    use = BudgetUse.objects.get(budget=row, user=user)
    # Without a period it is still to be counted, when the user next draws on it.
    counted = use if use.period_start else None
    return int(counted.spent if counted else spending.spent_by(row, user.pk))


CHANGES = [
    (True, {"per_member": False}),
    (False, {"per_member": True}),
    (True, {"period": MONTH}),
    (False, {"period": MONTH}),
]


@pytest.mark.parametrize(("per_member", "fields"), CHANGES)
async def test_what_ran_before_the_budget_came_is_counted_once(
    user, provider, turn, budget, group, per_member, fields
):
    """The sweep settles it, whoever draws on the budget in the meantime."""

    async def begin(name: str) -> Begun:
        return await in_database(begin_turn, user.pk, turn("Hi", session_id=name))

    first = await begin("s-1")
    row = await budget(user=None, group=group, per_member=per_member)
    second = await begin("s-2")  # makes the user's `BudgetUse`
    assert await in_database(Reservation.objects.filter(is_late=True).count) == 1
    await in_database(lambda: change(row, **fields))
    third = await begin("s-3")
    for begun in (first, second, third):
        await in_database(ended, begun)
    assert await in_database(standing, row, user) == 30


@pytest.mark.parametrize(("per_member", "fields"), CHANGES)
async def test_nothing_is_lost_where_nobody_draws_on_it_meanwhile(
    user, provider, turn, budget, group, per_member, fields
):
    first = await in_database(begin_turn, user.pk, turn("Hi"))
    row = await budget(user=None, group=group, per_member=per_member)
    second = await in_database(begin_turn, user.pk, turn("Hi", session_id="s-2"))
    await in_database(ended, second)
    await in_database(lambda: change(row, **fields))
    await in_database(ended, first)
    await in_database(lambda: BudgetUse.objects.get_or_create(budget=row, user=user))
    assert await in_database(standing, row, user) == 20


async def test_a_worker_that_has_not_heard_of_it_settles_it_all_the_same(
    user, provider, turn, budget, group, monkeypatch
):
    """Its answer began when the members shared the budget, and none was per user."""
    row = await budget(user=None, group=group)
    first = await in_database(begin_turn, user.pk, turn("Hi"))
    before = memory.latest()
    await in_database(lambda: change(row, per_member=True))
    # In another worker.
    second = await in_database(begin_turn, user.pk, turn("Hi", session_id="s-2"))
    assert memory.latest().has_budgets_of_each

    monkeypatch.setattr(memory, "_remembered", before)
    await in_database(ended, first)
    monkeypatch.undo()
    await in_database(ended, second)
    assert await in_database(standing, row, user) == 20
