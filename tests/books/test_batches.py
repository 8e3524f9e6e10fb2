"""Many turns in one transaction: cheap together, refused one by one, never blocking."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import pytest
from django.db import DataError, IntegrityError, OperationalError, connection
from django.db import transaction as transactions
from django.db.backends.utils import CursorWrapper
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llmchat import database
from llmchat.answers import runtime, stopping
from llmchat.books import batch, writer
from llmchat.books.batch import store
from llmchat.books.conversations import start_of, stored_hash
from llmchat.books.turn import End, Outcome
from llmchat.database import in_database
from llmchat.errors import ChatError
from llmchat.models import Budget, Conversation, Message, Reservation
from llmchat.outages import Outage
from llmchat.providers.types import Usage
from tests.support.chat_fixtures import User, broken_database
from tests.support.turns import begin_turn, end_turn

USAGE = Usage(7, 3, "provider")
WHOLE = Outcome(Message.State.COMPLETE, "Hello", USAGE, "model-1")


def make_users(count: int) -> list[User]:
    return [User.objects.create_user(f"user{n}") for n in range(count)]


def codes(results: list[object]) -> list[str]:
    return [
        result.code if isinstance(result, ChatError) else type(result).__name__
        for result in results
    ]


def check_books() -> None:
    """Check that the rows of conversations agree with what their messages add up to."""
    for row in Conversation.objects.all():
        answers = row.messages.exclude(session_id="").order_by("position")
        assert row.message_count == row.messages.count()
        assert row.thread_hash == stored_hash(row.pk)
        assert row.turn_count == answers.count()
        assert row.state == answers.last().state
        assert row.output_tokens == sum(a.output_tokens or 0 for a in answers)


@contextmanager
def statements() -> Iterator[CaptureQueriesContext]:
    with CaptureQueriesContext(connection) as queries:
        yield queries


async def test_a_hundred_turns_take_the_statements_of_one(user, provider, turn):
    def whole(users: list[User]) -> list[int]:
        with statements() as starting:
            begun = store([start_of(one.pk, turn("Hi")) for one in users])
        with statements() as ending:
            store([End(one, WHOLE) for one in begun])
        again = [start_of(one.pk, turn("Hi", "Hello", "More")) for one in users]
        with statements() as going_on:
            begun = store(again)
        store([End(one, WHOLE) for one in begun])
        check_books()
        return [len(starting), len(ending), len(going_on)]

    def compare() -> tuple[list[int], list[int]]:
        whole([user])  # including what a process does only once
        users = make_users(101)
        return whole(users[:1]), whole(users[1:])

    one, hundred = await in_database(compare)
    if one != hundred:
        # What is cached for a short time is read again if the hundred take longer than
        # that.
        await in_database(User.objects.exclude(pk=user.pk).delete)
        one, hundred = await in_database(compare)
    # Only on SQLite is each of the statements for many rows a round trip of its own.
    assert one == hundred
    assert max(one) <= 9


async def test_what_runs_is_found_by_its_own_index(user, provider, turn):
    """The index is used however many messages a user has, even without statistics."""

    def plan() -> str:
        now = timezone.now()
        row = Conversation.objects.create(user=user, updated_at=now)
        Message.objects.bulk_create(
            Message(conversation=row, user=user, position=n, created_at=now)
            for n in range(2000)
        )
        with statements() as queries:
            begin_turn(user.pk, turn("Hi"))
        [sql] = [
            query["sql"]
            for query in queries.captured_queries
            if query["sql"].startswith("SELECT") and "'streaming'" in query["sql"]
        ]
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":  # it keeps statistics
                cursor.execute("ANALYZE llmchat_message, llmchat_conversation")
            cursor.execute(f"{connection.ops.explain_query_prefix()} {sql}")
            return str(cursor.fetchall())

    used = await in_database(plan)
    # Both hold only running answers.
    indexes = "message_one_stream_for_a_session", "message_running"
    assert any(index in used for index in indexes), used


async def test_turns_of_one_user_in_one_batch_are_decided_in_their_order(
    user, provider, turn
):
    def begin() -> list[object]:
        asked = [turn("Hi", session_id=f"s-{n}") for n in (0, 1, 1, 2, 3, 4)]
        results = store([start_of(user.pk, one) for one in asked])
        check_books()
        return results

    results = await in_database(begin)
    assert codes(results) == [
        "Begun",
        "Begun",
        "session_active",
        "Begun",
        "Begun",
        "too_many_streams",
    ]


async def test_tabs_in_one_batch_go_on_with_a_conversation_each(user, provider, turn):
    """The first turn takes the later of two equal ones, the next the other.

    The last one, for which none is left, gets a copy.
    """

    def begin() -> list[object]:
        for _ in range(2):
            end_turn(begin_turn(user.pk, turn("Hi")), WHOLE)
        old = list(Conversation.objects.order_by("-updated_at"))
        asked = [turn("Hi", "Hello", "More", session_id=f"s-{n}") for n in range(3)]
        begun = store([start_of(user.pk, one) for one in asked])
        found = [one.conversation_id for one in begun]
        assert found[:2] == [row.pk for row in old]
        assert found[2] not in found[:2]
        store([End(one, WHOLE) for one in begun])
        check_books()
        return sorted(row.message_count for row in Conversation.objects.all())

    assert await in_database(begin) == [4, 4, 4]


async def test_ends_of_one_conversation_in_one_batch_add_up(user, provider, turn):
    def end() -> None:
        first = begin_turn(user.pk, turn("Hi"))
        end_turn(first, WHOLE)
        tabs = [
            turn(f"tab {n}", session_id=f"s-{n}", conversation_id=first.conversation_id)
            for n in range(3)
        ]
        begun = store([start_of(user.pk, one) for one in tabs])
        later = start_of(user.pk, turn("x", conversation_id=first.conversation_id))
        store([*(End(one, WHOLE) for one in begun), later])
        check_books()
        assert Conversation.objects.get().output_tokens == 4 * 3

    await in_database(end)


async def test_who_is_refused_is_refused_alone(user, provider, turn):
    def begin() -> list[object]:
        other, broke, gone, late = make_users(4)
        Budget.objects.create(user=broke, period="day", unit="tokens", limit=0)
        Budget.objects.create(user=late, period="day", unit="tokens", limit=99)
        User.objects.filter(pk=gone.pk).update(is_active=False)
        named = begin_turn(other.pk, turn("Hi", session_id="s-0")).conversation_id
        return store(
            [
                start_of(user.pk, turn("Hi")),
                start_of(broke.pk, turn("Hi")),
                start_of(gone.pk, turn("Hi")),
                start_of(user.pk, turn("Hi", session_id="s-2", conversation_id=named)),
                start_of(late.pk, turn("Hi")),
                start_of(late.pk, turn("Hi", session_id="s-2")),
            ]
        )

    assert codes(await in_database(begin)) == [
        "Begun",
        "budget_exceeded",
        "token_invalid",
        "conversation_not_found",
        "Begun",
        "budget_exceeded",
    ]
    assert await in_database(Message.objects.filter(state="streaming").count) == 3
    assert await in_database(Reservation.objects.count) == 1


async def test_an_end_frees_what_a_start_of_its_batch_may_reserve(user, provider, turn):
    def begin() -> list[object]:
        Budget.objects.create(user=user, period="day", unit="tokens", limit=99)
        first = begin_turn(user.pk, turn("Hi"))
        return store(
            [start_of(user.pk, turn("Hi", session_id="s-2")), End(first, WHOLE)]
        )

    assert codes(await in_database(begin)) == ["Begun", "Outcome"]
    assert (await in_database(Budget.objects.get)).spent == 10


async def test_the_sums_of_days_are_locked_when_all_else_is_written(
    user, provider, turn
):
    """Every end of that day may wait for them, so they are held briefly."""

    def batch_of_both() -> list[str]:
        gone = begin_turn(user.pk, turn("Hi"))
        stopping.delete(Conversation.objects.all())
        Budget.objects.create(user=user, limit=99)
        with statements() as queries:
            begun, _ = store([start_of(user.pk, turn("Hey")), End(gone, WHOLE)])
        assert begun.budgets
        said = [query["sql"] for query in queries.captured_queries]
        return [sql.split()[2] for sql in said if sql.startswith("INSERT")]

    tables = await in_database(batch_of_both)
    written = [name.strip('"') for name in tables if "worker" not in name]
    assert "llmchat_reservation" in written
    assert written[-1] == "llmchat_pastuse"


@pytest.mark.parametrize("error", [IntegrityError, DataError])
async def test_a_batch_that_fails_is_stored_by_halves(user, provider, turn, error):
    """If the database refuses one item, the others are still stored."""
    execute = CursorWrapper._execute_with_wrappers

    def fail(cursor, sql, params, many, executor):
        rows = params if many else [params or ()]
        if sql.startswith("INSERT") and any("poison" in row for row in rows):
            raise error("no")
        return execute(cursor, sql, params, many, executor)

    def begin() -> list[object]:
        users = make_users(3)
        texts = ("one", "poison", "two")
        starts = [
            start_of(one.pk, turn(text)) for one, text in zip(users, texts, strict=True)
        ]
        ended = End(begin_turn(user.pk, turn("Hi")), WHOLE)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CursorWrapper, "_execute_with_wrappers", fail)
            results = store([*starts, ended])
        check_books()
        return results

    results = await in_database(begin)
    assert codes(results) == ["Begun", error.__name__, "Begun", "Outcome"]
    assert await in_database(Conversation.objects.count) == 3


async def test_without_a_database_all_are_refused_and_nothing_is_stored(
    user, provider, turn
):
    users = await in_database(make_users, 3)
    books = runtime.get().books
    with broken_database("INSERT"):
        asked = [books.begin(one.pk, turn("Hi")) for one in users]
        results = await asyncio.gather(*asked, return_exceptions=True)
    assert codes(results) == ["database_unavailable"] * 3
    assert not await in_database(Message.objects.exists)


async def test_who_waits_for_a_lock_lets_the_others_of_his_batch_pass(
    user, provider, turn
):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    others = await in_database(make_users, 5)
    locked, done = Event(), Event()

    def hold() -> None:
        with transactions.atomic():
            User.objects.select_for_update().get(pk=user.pk)
            locked.set()
            assert done.wait(30)

    holding = asyncio.create_task(in_database(hold))
    await asyncio.to_thread(locked.wait)
    books = runtime.get().books
    waiting = [
        asyncio.create_task(books.begin(user.pk, turn("Hi", session_id=f"s-{n}")))
        for n in range(4)
    ]
    try:
        asked = [books.begin(one.pk, turn("Hi")) for one in others]
        async with asyncio.timeout(20):
            begun = await asyncio.gather(*asked)
        assert [one.user_id for one in begun] == [one.pk for one in others]
        assert not any(task.done() for task in waiting)
    finally:
        done.set()
        await holding
    assert codes(await asyncio.gather(*waiting)) == ["Begun"] * 4


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """Hold each batch until the gate is open, and note its size."""
    gate = Held()

    def slowly(items: list[object]) -> list[object]:
        gate.batches.append(len(items))
        gate.reached.set()
        assert gate.open.wait(30)
        return batch.store(items)

    monkeypatch.setattr(writer, "store", slowly)
    yield gate
    gate.open.set()


class Held:
    """A gate in front of the database."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.reached, self.open = Event(), Event()


async def test_what_comes_meanwhile_is_one_batch(
    user, provider, turn, monkeypatch, held
):
    """The first waits for nothing, and the rest wait only for the first."""
    users = await in_database(make_users, 30)
    monkeypatch.setattr(writer, "BATCH", 20)
    books = runtime.get().books
    asked = [asyncio.create_task(books.begin(users[0].pk, turn("Hi")))]
    await asyncio.to_thread(held.reached.wait)
    asked += [asyncio.create_task(books.begin(u.pk, turn("Hi"))) for u in users[1:]]
    await asyncio.sleep(0)
    held.open.set()
    await asyncio.gather(*asked)
    assert held.batches == [1, 20, 9]


async def test_a_full_queue_refuses_and_who_has_left_is_passed_over(
    user, provider, turn, monkeypatch, held
):
    books = runtime.get().books
    first = asyncio.create_task(books.begin(user.pk, turn("Hi")))
    await asyncio.to_thread(held.reached.wait)
    left = asyncio.create_task(books.begin(user.pk, turn("Hi", session_id="s-2")))
    await asyncio.sleep(0)
    monkeypatch.setattr(writer, "MAX_WAITING", 1)
    with pytest.raises(ChatError) as refused:
        await books.begin(user.pk, turn("Hi", session_id="s-3"))
    assert refused.value.code == "database_unavailable"
    left.cancel()
    await asyncio.wait([left])
    held.open.set()
    await first
    await books.close()
    assert held.batches == [1]


async def test_a_locked_sqlite_is_an_outage_for_those_who_wait_in_the_queue(
    user, provider, turn
):
    """Only the first waits for the lock until it fails."""
    asked = []

    def fail(*args: object, **fields: object) -> None:
        asked.append(args)
        raise OperationalError("database is locked") from sqlite3.OperationalError()

    with pytest.MonkeyPatch.context() as patch:
        outage = Outage("the database", lambda: None, meanwhile="refused")
        patch.setattr(outage, "_start_probing", lambda: True)
        patch.setattr(database, "outage", outage)
        patch.setattr(batch, "_together", fail)
        patch.setattr(writer, "BATCH", 1)
        books = runtime.get().books
        results = await asyncio.gather(
            *(books.begin(user.pk, turn("Hi", session_id=f"s-{n}")) for n in range(5)),
            return_exceptions=True,
        )
    assert codes(results) == ["database_unavailable"] * 5
    assert len(asked) == 1
