"""Tabs, devices and workers that write to the same conversations at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from threading import Barrier, Event

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import api_keys
from accounts.deletion import delete_emptied
from llmchat import database
from llmchat.access import budgets, keys
from llmchat.answers import runtime, stopping
from llmchat.answers.events import Done
from llmchat.books import past
from llmchat.books.conversations import stored_hash
from llmchat.books.turn import Begun, KeyRefusal, Outcome, Progress, Turn
from llmchat.database import THREADS, in_database
from llmchat.errors import ChatError
from llmchat.models import (
    Budget,
    BudgetUse,
    Conversation,
    Message,
    PastUse,
    ProviderKey,
    Revision,
    spending,
)
from llmchat.models.workers import texts_of
from llmchat.providers.types import Usage
from tests.support.busy_writers import busy_writers
from tests.support.chat_fixtures import User, end_of, events_of, meet
from tests.support.deletion import delete_users
from tests.support.streaming import streaming
from tests.support.turns import begin_turn, end_stored, end_turn


def conversations() -> list[list[str]]:
    """Return what was said in each conversation, after checking its books."""
    return sorted(_checked(row) for row in Conversation.objects.all())


def _checked(row: Conversation) -> list[str]:
    messages = list(row.messages.order_by("position"))
    assert [message.position for message in messages] == list(range(len(messages)))
    assert row.message_count == len(messages)
    assert row.thread_hash == stored_hash(row.pk)
    assert row.turn_count == sum(bool(message.session_id) for message in messages)
    return [message.content for message in messages]


def said(*first: str, last: str) -> list[str]:
    return [*first, last, "Hello"]


async def test_two_tabs_that_go_on_at_once_part_and_lose_nothing(
    user, provider, upstream, turn
):
    """The first to arrive continues the conversation, and the other a copy."""
    await end_of(user, turn("Hi"))
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    one = turn("Hi", "Hello", "one", session_id="s-1")
    two = turn("Hi", "Hello", "two", session_id="s-2")
    async with streaming(user, one), streaming(user, two):
        go.set()
    assert await in_database(conversations) == [
        said("Hi", "Hello", last="one"),
        said("Hi", "Hello", last="two"),
    ]
    for text in ("one", "two"):
        await end_of(user, turn("Hi", "Hello", text, "Hello", "more"))
    assert await in_database(conversations) == [
        said("Hi", "Hello", "one", "Hello", last="more"),
        said("Hi", "Hello", "two", "Hello", last="more"),
    ]


async def test_an_edited_history_begins_a_new_conversation_and_spoils_no_other(
    user, provider, upstream, turn
):
    await end_of(user, turn("Hi"))
    await end_of(user, turn("Hi", "Hello", "one"))
    await end_of(user, turn("Hey", "Hello", "one"))  # the first message
    await end_of(user, turn("Hi", "Bye", "one"))  # the answer
    await end_of(user, turn("Hi", "Hello", "two"))  # the last message
    assert await in_database(conversations) == [
        said("Hey", "Hello", last="one"),
        said("Hi", "Bye", last="one"),
        said("Hi", "Hello", last="one"),
        said("Hi", "Hello", last="two"),
    ]


async def test_many_tabs_of_one_named_conversation_take_their_places_in_it(
    user, provider, upstream, turn, settings
):
    settings.LLMCHAT = settings.LLMCHAT | {"max_streams_per_user": 20}
    first = await end_of(user, turn("Hi"))
    ends = await asyncio.gather(
        *(
            end_of(
                user,
                turn(
                    f"tab {number}",
                    session_id=f"s-{number}",
                    conversation_id=first.conversation_id,
                ),
            )
            for number in range(20)
        )
    )
    assert {type(end) for end in ends} == {Done}
    ((hi, hello, *rest),) = await in_database(conversations)
    assert (hi, hello) == ("Hi", "Hello")
    assert sorted(rest) == sorted(["Hello"] * 20 + [f"tab {n}" for n in range(20)])


async def test_the_same_history_from_all_workers_at_once_makes_no_odd_conversation(
    user, provider, upstream, turn
):
    """Each has its own connection, like a process, and all begin at the same moment."""
    await end_of(user, turn("Hi"))
    barrier = Barrier(THREADS)

    def whole_turn(number: int) -> None:
        barrier.wait(10)
        asked = turn("Hi", "Hello", f"tab {number}", session_id=f"s-{number}")
        begun = begin_turn(user.pk, asked)
        barrier.wait(10)
        usage = Usage(1, 1, "provider")
        ending = Outcome(Message.State.COMPLETE, "Hello", usage, "model-1")
        end_stored(begun, ending)

    await asyncio.gather(*(in_database(whole_turn, n) for n in range(THREADS)))
    assert await in_database(conversations) == [
        said("Hi", "Hello", last=f"tab {number}") for number in range(THREADS)
    ]


async def test_one_session_begins_once_however_many_workers_are_asked(
    user, provider, upstream, turn
):
    barrier = Barrier(THREADS)

    def begin() -> str:
        barrier.wait(10)
        try:
            begin_turn(user.pk, turn("Hi"))
        except ChatError as exc:
            return exc.code
        return "begun"

    ends = await asyncio.gather(*(in_database(begin) for _ in range(THREADS)))
    assert sorted(ends) == ["begun"] + (THREADS - 1) * ["session_active"]
    assert await in_database(Message.objects.filter(role="assistant").count) == 1


async def test_users_do_not_wait_for_one_another(user, provider, upstream, turn):
    """A lock that one user's turn holds does not hold up other users."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    other = await in_database(User.objects.create_user, "bob")
    locked, done = Event(), Event()

    def hold() -> None:
        with transaction.atomic():
            User.objects.select_for_update().get(pk=user.pk)
            locked.set()
            assert done.wait(30)

    holding = asyncio.create_task(in_database(hold))
    await asyncio.to_thread(locked.wait)
    try:
        assert isinstance(await end_of(other, turn("Hi")), Done)
    finally:
        done.set()
        await holding


async def test_a_checkpoint_waits_for_nobody(user, provider, upstream, turn):
    """It waits neither for a locked conversation nor for a locked answer."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    first = await in_database(begin_turn, user.pk, turn("a", session_id="a"))
    second = await in_database(begin_turn, user.pk, turn("b", session_id="b"))
    locked, done = Event(), Event()

    def hold() -> None:
        with transaction.atomic():
            Conversation.objects.select_for_update().get(pk=first.conversation_id)
            Message.objects.select_for_update().get(pk=second.message_id)
            locked.set()
            assert done.wait(30)

    holding = asyncio.create_task(in_database(hold))
    await asyncio.to_thread(locked.wait)
    idents = {first.message_id, second.message_id}
    progress = [Progress(ident, 0, "Hel", None) for ident in idents]
    try:
        async with asyncio.timeout(10):
            taken = await runtime.get().books.checkpoint(progress)
    finally:
        done.set()
        await holding
    assert not taken.to_stop
    assert await in_database(texts_of, idents) == dict.fromkeys(idents, "Hel")


@pytest.mark.parametrize("model", [ProviderKey, Revision])
async def test_a_key_that_another_transaction_holds_delays_no_turn(
    user, provider, upstream, turn, model, monkeypatch
):
    """A form in the admin holds the revision while it counts what a budget has used."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")

    def make() -> ProviderKey:
        row = ProviderKey(provider=provider)
        row.set_value("sk-0123456789ab")
        row.save()
        return row

    row = await in_database(make)
    locked, done = Event(), Event()

    def hold() -> None:
        with transaction.atomic():
            model.objects.select_for_update().get()
            locked.set()
            assert done.wait(30)

    holding = asyncio.create_task(in_database(hold))
    await asyncio.to_thread(locked.wait)
    # Statements wait for locks at most ten seconds.
    monkeypatch.setattr(database, "is_serving", False)
    # Later than the use of the key by the turn, which otherwise would count.
    later = timezone.now() + timedelta(minutes=1)
    refusal = KeyRefusal(keys.stored_key(row), "provider_auth", later)
    refusing = asyncio.create_task(runtime.get().books.refuse(refusal))
    await asyncio.sleep(0)  # it is queued first
    try:
        async with asyncio.timeout(8):
            assert isinstance(await end_of(user, turn("Hi")), Done)
    finally:
        done.set()
        await holding
    await refusing
    await in_database(row.refresh_from_db)
    assert row.last_error == "provider_auth"


async def test_turns_begin_and_end_whatever_else_is_written(
    user, provider, upstream, turn
):
    """Deletions and the like can wait for locks in all of the writers' threads."""
    async with busy_writers() as calls:
        assert isinstance(await end_of(user, turn("Hi")), Done)
        assert not any(call.done() for call in calls)


async def test_who_deletes_a_budget_and_who_settles_it_take_it_in_one_order(
    user, provider, turn
):
    """An end locks the budget, then its reservation; a deletion must do the same."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")

    def begin() -> Begun:
        Budget.objects.create(user=user, period="day", unit="tokens", limit=99)
        return begin_turn(user.pk, turn("Hi"))

    begun = await in_database(begin)
    locked, done = Event(), Event()

    def settle_slowly() -> None:
        with transaction.atomic():
            Budget.objects.select_for_update().get()
            locked.set()
            assert done.wait(30)
            budgets.release([begun.message_id])

    await meet(settle_slowly, locked, Budget.objects.all().delete, done)
    assert not await in_database(Budget.objects.exists)


async def test_who_deletes_an_account_and_who_ends_an_answer_lock_in_one_order(
    user, provider, turn
):
    """An end locks the conversation, then budgets; a deletion must do the same."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")

    def begin() -> None:
        key, _ = api_keys.create(user_id=user.pk, name="x", scopes="chat")
        Budget.objects.create(user=user, limit=99)
        Budget.objects.create(api_key=key, limit=99)
        begin_turn(user.pk, turn("Hi"))

    await in_database(begin)
    locked, done = Event(), Event()

    def end_slowly() -> None:
        with transaction.atomic():
            Conversation.objects.select_for_update().get()
            locked.set()
            assert done.wait(30)
            list(Budget.objects.order_by("pk").select_for_update())

    users = User.objects.filter(pk=user.pk)
    await meet(end_slowly, locked, partial(delete_users, users), done)
    assert not await in_database(Budget.objects.exists)


async def test_who_deletes_an_account_takes_the_sums_last_as_an_answer_s_end_does(
    user, provider, turn, monkeypatch
):
    """An end whose conversation is gone locks what its user has used, then the sums."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    monkeypatch.setattr(database, "DEADLINE_S", 60)
    ending = Outcome(Message.State.COMPLETE, "Hello", Usage(1, 1, "provider"), "m")

    def begin() -> Begun:
        Budget.objects.create(is_default=True, limit=99)
        end_turn(begin_turn(user.pk, turn("Hi")), ending)
        begun = begin_turn(user.pk, turn("Hey"))
        gone = Conversation.objects.filter(pk=begun.conversation_id)
        assert stopping.delete(gone).done == 1
        return begun

    begun = await in_database(begin)
    reached, done = Event(), Event()
    add, added = past.add, []

    def slowly(rows: list[object]) -> None:
        added.append(rows)
        if len(added) == 1:  # the end comes first
            reached.set()
            assert done.wait(30)
        add(rows)

    monkeypatch.setattr(past, "add", slowly)
    users = User.objects.filter(pk=user.pk)
    storing = partial(end_turn, begun, ending)
    await meet(storing, reached, partial(delete_emptied, users), done)
    assert (await in_database(PastUse.objects.get)).answers == 2
    assert not await in_database(User.objects.exists)


def delete_the_budget() -> None:
    Budget.objects.all().delete()


def recount_the_budget() -> None:
    with transaction.atomic():
        spending.recount(Budget.objects.get())


@pytest.mark.parametrize("change", [delete_the_budget, recount_the_budget])
async def test_who_changes_a_budget_takes_what_users_have_used_in_the_common_order(
    user, provider, turn, change
):
    """The deletion of accounts takes these rows by their keys, and so does it."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")

    def prepare() -> list[BudgetUse]:
        bob = User.objects.create_user("bob")
        row = Budget.objects.create(is_default=True, limit=9)
        # PostgreSQL deletes the first row of the table first; here its key is the last.
        owners = {1002: bob.pk, 1001: user.pk}
        for pk, owner in owners.items():
            day = row.start_of_period(timezone.now())
            BudgetUse.objects.create(pk=pk, budget=row, user_id=owner, period_start=day)
        return list(BudgetUse.objects.order_by("pk"))

    first, last = await in_database(prepare)
    locked, done = Event(), Event()

    def lock_slowly() -> None:
        with transaction.atomic():
            BudgetUse.objects.select_for_update().get(pk=first.pk)
            locked.set()
            assert done.wait(30)
            BudgetUse.objects.select_for_update().get(pk=last.pk)

    await meet(lock_slowly, locked, change, done)
    counted = BudgetUse.objects.exclude(period_start=None)
    assert not await in_database(counted.exists)


async def test_who_deletes_a_user_in_the_shell_locks_the_user_first(
    user, provider, turn
):
    """A start locks its user, and then the conversation that it goes on with."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    await in_database(begin_turn, user.pk, turn("Hi"))
    locked, done = Event(), Event()

    def begin_slowly() -> None:
        with transaction.atomic():
            User.objects.select_for_update(no_key=True).get()
            locked.set()
            assert done.wait(30)
            Conversation.objects.select_for_update().get()

    await meet(begin_slowly, locked, user.delete, done)
    assert not await in_database(User.objects.exists)


@pytest.fixture
def impatient() -> Callable[[], None]:
    """Let the calling thread wait for locks for no more than a tenth of a second."""
    vendor = connection.vendor

    def shorten() -> None:
        pragma = "PRAGMA busy_timeout = 100"
        with connection.cursor() as cursor:
            cursor.execute(pragma if vendor == "sqlite" else "SET lock_timeout = 100")

    return shorten


async def test_a_database_that_is_locked_refuses_the_turn(
    user, provider, upstream, turn, impatient
):
    locked, done = Event(), Event()

    def hold() -> None:
        with transaction.atomic():
            User.objects.select_for_update().get(pk=user.pk)
            locked.set()
            assert done.wait(30)

    def begin(asked: Turn) -> str:
        impatient()
        try:
            begin_turn(user.pk, asked)
        except ChatError as exc:
            return f"{exc.code}, again in {exc.retry_after} s"
        finally:
            connection.close()
        return "begun"

    holding = asyncio.create_task(in_database(hold))
    await asyncio.to_thread(locked.wait)
    try:
        assert await in_database(begin, turn("Hi")) == (
            "database_unavailable, again in 5 s"
        )
    finally:
        done.set()
        await holding
    assert await in_database(Message.objects.count) == 0
    assert not upstream.requests


async def test_no_statement_is_sent_for_a_token(
    user, provider, upstream, turn, monkeypatch
):
    monkeypatch.setattr("llmchat.answers.checkpoints.INTERVAL_S", 3600)
    # Leave out background work, which takes an unknown time beside the first turns.
    for work in ("_sweep", "_keep_totals"):
        monkeypatch.setattr(runtime, work, partial(asyncio.sleep, 0))
    fewest = {}
    for tokens in (2, 200):
        upstream.steps = ("on ",) * tokens
        # Now and then a turn also renews a lease or reads cached rows again.
        counts = [
            await statements_of(user, turn(f"Hi {tokens} {number}"))
            for number in range(5)
        ]
        fewest[tokens] = min(counts)
    assert fewest[2] == fewest[200] > 0


async def statements_of(user: User, asked: Turn) -> int:
    """Run a turn and count the statements of all threads."""
    counted = 0
    original = CursorWrapper._execute_with_wrappers

    def counting(cursor, sql, params, many, executor):
        nonlocal counted
        counted += 1
        return original(cursor, sql, params, many, executor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CursorWrapper, "_execute_with_wrappers", counting)
        await events_of(user, asked)
    return counted


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("is_serving", "wait_ms"), [(True, 4000), (False, 20_000)])
def test_sqlite_is_set_up_for_a_server(monkeypatch, is_serving, wait_ms):
    monkeypatch.setattr(database, "is_serving", is_serving)
    connection.close()
    if connection.vendor != "sqlite":
        pytest.skip("of SQLite alone")

    def pragma(name: str) -> object:
        with connection.cursor() as cursor:
            return cursor.execute(f"PRAGMA {name}").fetchone()[0]

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 1  # NORMAL: durable enough with a WAL
    assert pragma("busy_timeout") == wait_ms
    assert pragma("foreign_keys") == 1
    assert pragma("temp_store") == 2  # MEMORY: no file for each statement of many rows
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        pass
    assert "BEGIN IMMEDIATE" in [query["sql"] for query in queries]
    assert settings.DATABASES["default"]["CONN_MAX_AGE"] == 0
