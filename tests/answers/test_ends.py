"""The ends of answers that do not fit, come late, or get in one another's way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import pytest
from django.db import DataError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from llmchat.answers import checkpoints, services, stopping
from llmchat.answers.events import Done
from llmchat.books.begin import begin_turn
from llmchat.books.end import end_turn
from llmchat.books.turn import LEASE, Begun, Outcome
from llmchat.database import in_database
from llmchat.errors import ChatError
from llmchat.models import Budget, Conversation, Message, Reservation
from llmchat.providers.types import Usage
from tests.support.chat_fixtures import broken_database, end_of, until
from tests.support.streaming import streaming


def stored() -> list[tuple[str, str]]:
    """Return state and text of the answers."""
    rows = Message.objects.filter(role="assistant").order_by("created_at")
    return list(rows.values_list("state", "content"))


@contextmanager
def unstorable(value: str) -> Iterator[None]:
    """Let the database refuse a value."""
    execute = CursorWrapper._execute_with_wrappers

    def fail(cursor, sql, params, many, executor):
        if params and value in params:
            raise DataError("value too long")
        return execute(cursor, sql, params, many, executor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CursorWrapper, "_execute_with_wrappers", fail)
        yield


@pytest.mark.parametrize(
    ("said", "model"),
    [
        ("m" * 200, "m" * 128),
        ("m\0od\ud800el", "model"),
        ("\0", "model-1"),
        (2**70, "model-1"),
    ],
    ids=["long", "not text", "nothing", "a number"],
)
async def test_whatever_a_provider_calls_its_model_the_answer_is_stored(
    user, provider, upstream, turn, said, model
):
    upstream.model = said
    assert (await end_of(user, turn("Hi"))).model == model
    assert await in_database(stored) == [("complete", "Hello")]


@pytest.mark.parametrize("tokens", [2**31, 2**63, 10**30])
async def test_a_count_beyond_reason_is_cut_and_the_answer_stored(
    user, provider, upstream, turn, tokens
):
    upstream.usage = {"prompt_tokens": tokens, "completion_tokens": tokens}
    assert isinstance(await end_of(user, turn("Hi")), Done)
    assert await in_database(stored) == [("complete", "Hello")]


@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "later"])
async def test_an_end_that_the_database_refuses_is_stored_without_the_provider_s_words(
    user, provider, upstream, turn, monkeypatch, is_late
):
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 0.01)
    budget = await in_database(
        lambda: Budget.objects.create(user=user, period="day", unit="tokens", limit=99)
    )
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    with unstorable("upstream-1"):
        async with streaming(user, turn("Hi")) as (task, _, _stream):
            go.set()
            if is_late:
                with broken_database("UPDATE"):
                    await task

        async def is_stored() -> bool:
            return await in_database(stored) == [("error", "Hello")]

        await until(is_stored)
    await in_database(budget.refresh_from_db)
    assert budget.spent == 10
    assert not await in_database(Reservation.objects.exists)


async def test_an_end_that_moves_up_in_a_full_queue_is_stored(
    user, provider, turn, monkeypatch
):
    monkeypatch.setattr(checkpoints, "_unsaved", deque(maxlen=1))

    def begin(session_id: str) -> Begun:
        return begin_turn(user.pk, turn(session_id, session_id=session_id))

    first, second = [await in_database(begin, name) for name in ("s-1", "s-2")]
    usage = Usage(1, 1, "provider")
    ending = Outcome(Message.State.COMPLETE, "Hello", usage, "model-1")

    async def in_database_meanwhile(*call: object) -> object:
        if call[1] is first:
            checkpoints._unsaved.append((second, ending))
        return await in_database(*call)

    monkeypatch.setattr(checkpoints, "in_database", in_database_meanwhile)
    checkpoints._unsaved.append((first, ending))
    await checkpoints._save_ends()
    assert await in_database(stored) == 2 * [("complete", "Hello")]
    assert not checkpoints._unsaved


@pytest.fixture
def slow_end(monkeypatch) -> Iterator[Event]:
    """Let no end be stored until the event is set, and no client wait for it."""
    go = Event()

    def wait(*args: object) -> None:
        assert go.wait(30)
        end_turn(*args)

    monkeypatch.setattr(services, "end_turn", wait)
    monkeypatch.setattr(services, "_STORE_S", 0.01)
    yield go
    go.set()


async def test_the_next_turn_waits_for_an_end_that_is_slow_to_store(
    user, provider, upstream, turn, monkeypatch, slow_end
):
    assert isinstance(await end_of(user, turn("Hi")), Done)
    monkeypatch.setattr(services, "_STORE_S", 30)
    following = turn("Hi", "Hello", "more", session_id="s-2")
    asked = asyncio.create_task(end_of(user, following))
    # Whoever would begin at once would have its provider asked by then.
    await asyncio.wait([asked], timeout=0.2)
    slow_end.set()
    assert isinstance(await asked, Done)
    assert await in_database(Conversation.objects.count) == 1


async def test_a_turn_behind_an_end_that_is_not_stored_is_refused(
    user, provider, upstream, turn, slow_end
):
    await end_of(user, turn("Hi"))
    following = turn("Hi", "Hello", "more", session_id="s-2")
    with pytest.raises(ChatError) as refused:
        await end_of(user, following)
    assert refused.value.code == "database_unavailable"
    assert len(upstream.requests) == 1


async def test_a_turn_behind_an_end_that_waits_for_the_database_is_refused(
    user, provider, upstream, turn, monkeypatch
):
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 0.01)
    following = turn("Hi", "Hello", "more", session_id="s-2")
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi")) as (task, _, _stream):
        with broken_database("UPDATE"):
            go.set()
            await task
            with pytest.raises(ChatError) as refused:
                await end_of(user, following)
    assert refused.value.code == "database_unavailable"

    async def is_stored() -> bool:
        return not checkpoints.owes(user.pk)

    await until(is_stored)
    assert isinstance(await end_of(user, following), Done)
    assert await in_database(Conversation.objects.count) == 1


async def test_an_operator_s_stop_and_a_checkpoint_do_not_lock_each_other_up(
    user, provider, turn
):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    first, second = await in_database(two_in_the_wrong_order, user, turn)
    locked, go = Event(), Event()

    def checkpoint_slowly() -> None:
        """Lock as a checkpoint does, in the order of the keys."""
        rows = Message.objects.select_for_update()
        with transaction.atomic():
            rows.get(pk=first)
            locked.set()
            assert go.wait(30)
            rows.get(pk=second)

    checkpoint = asyncio.create_task(in_database(checkpoint_slowly))
    await asyncio.to_thread(locked.wait)
    stop = asyncio.create_task(in_database(stopping.stop, Message.objects.all()))
    await until(is_waiting)
    go.set()
    await checkpoint
    assert await stop == 2


def two_in_the_wrong_order(user, turn) -> list:
    """Make two running answers whose rows lie the other way round than their keys."""
    begun = [begin_turn(user.pk, turn(name, session_id=name)) for name in ("a", "b")]
    first, second = sorted(row.message_id for row in begun)
    for pk in (second, first):
        # On PostgreSQL, what is changed is written anew, behind the rest.
        Message.objects.filter(pk=pk).update(lease_until=timezone.now() + LEASE)
    return [first, second]


async def is_waiting() -> bool:
    """Return whether a statement waits for a lock."""

    def read() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return bool(cursor.fetchone()[0])

    return await in_database(read)
