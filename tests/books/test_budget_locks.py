"""Budgets that each user has individually, on several connections at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Barrier, Event

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction

from llmchat import database
from llmchat.books.sweep import sweep
from llmchat.books.turn import Begun, Outcome, Turn
from llmchat.database import THREADS, in_database
from llmchat.errors import ChatError
from llmchat.models import Budget, BudgetUse, Message, Reservation, spending
from llmchat.providers.types import Usage
from tests.support.chat_fixtures import User, end_of, is_waiting, meet, until
from tests.support.turns import begin_turn, end_stored, end_turn

DAY, MONTH = Budget.Period.DAY, Budget.Period.MONTH
WORKERS, TURNS = THREADS, 15


def everybody(user: User) -> list[User]:
    """Return users with budgets of all kinds, among them limits that are reached."""
    group = Group.objects.create(name="team")
    users = [user, User.objects.create_user("bob"), User.objects.create_user("cid")]
    group.user_set.set(users)
    Budget.objects.create(is_default=True, limit=8 * 10)
    Budget.objects.create(group=group, limit=10**8)
    Budget.objects.create(group=group, per_member=True, period=MONTH, limit=10**9)
    Budget.objects.create(user=users[2], limit=10**9)
    return users


async def test_workers_neither_overspend_nor_wait_for_one_another_for_ever(
    user, provider, turn, settings
):
    """Turns of all users on all connections, while budgets are created and deleted."""
    users = await in_database(everybody, user)
    settings.LLMCHAT = settings.LLMCHAT | {"max_streams_per_user": 50}
    barrier = Barrier(WORKERS)

    def work(number: int) -> list[str]:
        barrier.wait(10)
        with patience():
            return turns(number)

    def turns(number: int) -> list[str]:
        said = []
        for count in range(TURNS):
            session = f"{number}-{count}"
            said.append(whole_turn(users[count % 3], turn("Hi", session_id=session)))
            if number == 0 and count % 5 == 4:
                Budget.objects.filter(unit="dollars").delete()
                Budget.objects.create(is_default=True, unit="dollars", limit=10**6)
                Budget.objects.create(user=users[2], unit="dollars", limit=10**6)
                sweep()
            if number == 1 and count % 5 == 4:
                change_period()
        return said

    async with asyncio.timeout(100):
        ends = await asyncio.gather(*(in_database(work, n) for n in range(WORKERS)))
    codes = [code for said in ends for code in said]
    assert set(codes) == {"ended", "budget_exceeded"}
    await in_database(sweep)
    assert await in_database(spent) == await in_database(used)
    assert await in_database(shared) == 10 * codes.count("ended")
    assert await in_database(Reservation.objects.count) == 0


@contextmanager
def patience() -> Iterator[None]:
    """Wait for locks longer than a server does, on a machine that may stall."""
    # A call in the server has only five seconds, whatever it does.
    with database.until(time.monotonic() + 90):
        if connection.vendor == "sqlite":
            yield
            return
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '60s'")
            try:
                yield
            finally:
                cursor.execute("RESET lock_timeout")


def whole_turn(user: User, asked: Turn) -> str:
    try:
        begun = begin_turn(user.pk, asked)
    except ChatError as exc:
        return exc.code
    usage = Usage(7, 3, "provider")
    end_turn(begun, Outcome(Message.State.COMPLETE, "Hello", usage, "m"))
    return "ended"


def change_period() -> None:
    """Change the shared budget as the admin does, which then recounts it."""
    row = Budget.objects.get(limit=10**8)
    with transaction.atomic():
        spending.lock_users(row)
        row.period = DAY if row.period == MONTH else MONTH
        row.save(update_fields=["period"])
        spending.recount(row)


def shared(limit: int = 10**8) -> int:
    return int(Budget.objects.get(limit=limit).spent)


def spent() -> dict[str, int]:
    """Return what is booked for the users that the default budget applies to."""
    rows = BudgetUse.objects.filter(budget__is_default=True, budget__unit="tokens")
    return {row.user.username: int(row.spent) for row in rows}


def used() -> dict[str, int]:
    """Return what the answers used; the one that reaches the limit is the last."""
    found = {}
    for user in User.objects.exclude(username="cid"):
        count = Message.objects.filter(user=user, role="assistant").count()
        assert count <= 8
        found[user.username] = 10 * count
    return found


async def test_users_do_not_wait_for_one_another_over_a_default_budget(
    user, provider, upstream, turn
):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")

    def prepare() -> User:
        Budget.objects.create(is_default=True, limit=1000)
        begin_turn(user.pk, turn("Hi"))
        return User.objects.create_user("bob")

    other = await in_database(prepare)
    locked, done = Event(), Event()

    def hold() -> None:
        with transaction.atomic():
            BudgetUse.objects.select_for_update(no_key=True).get(user=user)
            locked.set()
            assert done.wait(30)

    holding = asyncio.create_task(in_database(hold))
    await asyncio.to_thread(locked.wait)
    try:
        async with asyncio.timeout(10):
            await end_of(other, turn("Hi"))
    finally:
        done.set()
        await holding


async def test_who_deletes_a_default_budget_waits_for_who_draws_on_it(
    user, provider, turn
):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    row = await in_database(lambda: Budget.objects.create(is_default=True, limit=1000))
    started, done = Event(), Event()

    def begin_slowly() -> None:
        with transaction.atomic():
            begin_turn(user.pk, turn("Hi"))
            started.set()
            assert done.wait(30)

    await meet(begin_slowly, started, row.delete, done)
    assert not await in_database(BudgetUse.objects.exists)
    assert not await in_database(Reservation.objects.exists)


async def test_two_ends_of_a_user_are_both_counted(user, provider, turn):
    """The second reads what the first wrote, not what was there before."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")

    def begin() -> Begun:
        Budget.objects.create(is_default=True, limit=1000)
        return begin_turn(user.pk, turn("Hi"))

    begun = await in_database(begin)
    locked, done = Event(), Event()

    def settle_slowly() -> None:
        with transaction.atomic():
            use = BudgetUse.objects.select_for_update(no_key=True).get()
            locked.set()
            assert done.wait(30)
            use.spent += 5
            use.save()

    settling = asyncio.create_task(in_database(settle_slowly))
    await asyncio.to_thread(locked.wait)
    usage = Usage(7, 3, "provider")
    outcome = Outcome(Message.State.COMPLETE, "Hello", usage, "m")
    ending = asyncio.create_task(in_database(end_stored, begun, outcome))
    await until(is_waiting)
    done.set()
    await settling
    await ending
    assert (await in_database(BudgetUse.objects.get)).spent == 15


async def test_a_start_that_waits_for_who_makes_the_first_budget_draws_on_it(
    user, provider, turn
):
    """There was no budget when it arrived; it looks again after it locks its user."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    locked, done = Event(), Event()

    def make_slowly() -> Budget:
        with transaction.atomic():
            row = Budget(user=user, limit=1_000_000)
            spending.lock_users(row)
            locked.set()
            assert done.wait(30)
            row.save()
        return row

    making = asyncio.create_task(in_database(make_slowly))
    await asyncio.to_thread(locked.wait)
    beginning = asyncio.create_task(in_database(begin_turn, user.pk, turn("Hi")))
    await until(is_waiting)
    done.set()
    row = await making
    assert (await beginning).budgets == (row.pk,)


@pytest.mark.parametrize("is_counted", [False, True])
async def test_an_end_that_waits_for_who_makes_a_members_budget_one_of_all_is_counted(
    user, provider, turn, is_counted
):
    """It finds the budget neither among the shared nor among the individual ones."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")

    def begin() -> tuple[Budget, Begun]:
        group = Group.objects.create(name="team")
        group.user_set.add(user)
        row = Budget.objects.create(group=group, per_member=True, limit=1000)
        return row, begin_turn(user.pk, turn("Hi"))

    row, begun = await in_database(begin)
    changed, done = Event(), Event()

    def change_slowly() -> None:
        with transaction.atomic():
            row.per_member = False
            spending.lock_users(row)
            row.save(update_fields=["per_member"])
            if is_counted:
                spending.recount(row)
            changed.set()
            assert done.wait(30)
            if not is_counted:
                spending.recount(row)

    changing = asyncio.create_task(in_database(change_slowly))
    await asyncio.to_thread(changed.wait)
    usage = Usage(7, 3, "provider")
    outcome = Outcome(Message.State.COMPLETE, "Hello", usage, "m")
    ending = asyncio.create_task(in_database(end_stored, begun, outcome))
    try:
        await until(is_waiting)
    finally:
        done.set()
        await changing
    await ending
    await in_database(sweep)
    assert await in_database(shared, 1000) == 10
    assert not await in_database(Reservation.objects.exists)
