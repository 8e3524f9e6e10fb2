"""Starts that answers of dead processes block: swept once, while nobody else waits.

The books have no runtime beside them, which sweeps when it begins.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from threading import Event

import pytest
from django.db import OperationalError, connection
from django.db import transaction as transactions

from llmchat import database
from llmchat.books import writer
from llmchat.books.sweep import sweep
from llmchat.books.turn import Begun, Outcome
from llmchat.books.writer import Books
from llmchat.database import in_database
from llmchat.errors import ChatError
from llmchat.models import Conversation, Message
from llmchat.providers.types import Usage
from tests.support.chat_fixtures import User, is_waiting, until
from tests.support.turns import begin_turn

WHOLE = Outcome(Message.State.COMPLETE, "Hello", Usage(7, 3, "provider"), "model-1")
DUPLICATES = 50


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no call fail because the machine is slow."""
    monkeypatch.setattr(database, "DEADLINE_S", 60)


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The users that the writer has swept for."""
    users: list[int] = []

    def noting(user_id: int) -> int:
        users.append(user_id)
        return sweep(user_id)

    monkeypatch.setattr(writer, "sweep", noting)
    return users


async def left_behind(user: User, turn: Callable[..., object]) -> Begun:
    """Begin a turn whose process then dies."""

    def begin() -> Begun:
        begun = begin_turn(user.pk, turn("Before"))
        Message.objects.filter(pk=begun.message_id).update(worker="elsewhere/1/2")
        return begun

    return await in_database(begin)


@asynccontextmanager
async def locked(begun: Begun) -> AsyncIterator[Event]:
    """Hold the conversation of a turn until the event is set, or the block ends."""
    held, done = Event(), Event()

    def hold() -> None:
        with transactions.atomic():
            Conversation.objects.select_for_update().get(pk=begun.conversation_id)
            held.set()
            assert done.wait(60)

    holding = asyncio.create_task(in_database(hold))
    try:
        await asyncio.to_thread(held.wait)
        yield done
    finally:
        done.set()
        await holding


def begin_all(
    books: Books, user: User, turn: Callable[..., object]
) -> list[asyncio.Task[Begun]]:
    """Begin the same turn many times, in one batch."""
    asked = (books.begin(user.pk, turn("Hi")) for _ in range(DUPLICATES))
    return [asyncio.create_task(one) for one in asked]


async def codes(tasks: list[asyncio.Task[Begun]]) -> Counter[str]:
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return Counter(
        result.code if isinstance(result, ChatError) else type(result).__name__
        for result in results
    )


async def test_many_duplicates_cost_one_sweep(user, provider, upstream, turn, swept):
    await left_behind(user, turn)
    found = await codes(begin_all(Books(), user, turn))
    assert found == {"Begun": 1, "session_active": DUPLICATES - 1}
    assert swept == [user.pk]
    states = Message.objects.filter(role="assistant").order_by("created_at")
    rows = await in_database(lambda: list(states.values_list("state", flat=True)))
    assert rows == ["interrupted", "streaming"]


async def test_what_still_runs_is_refused_after_one_sweep(
    user, provider, upstream, turn, swept
):
    books = Books()
    await books.begin(user.pk, turn("Hi"))
    found = await codes(begin_all(books, user, turn))
    assert found == {"session_active": DUPLICATES}
    assert swept == [user.pk]


async def test_nobody_else_waits_for_the_sweep(user, provider, upstream, turn, swept):
    """It waits for a row; an end and a start of the same batch are told before it."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    bob, cid = [
        await in_database(User.objects.create_user, name) for name in ("bob", "cid")
    ]
    dead = await left_behind(user, turn)
    books = Books()
    running = await books.begin(cid.pk, turn("Hi"))
    async with locked(dead) as done:
        duplicates = begin_all(books, user, turn)
        others = [
            asyncio.create_task(books.end(running, WHOLE)),
            asyncio.create_task(books.begin(bob.pk, turn("Hi"))),
        ]
        async with asyncio.timeout(30):
            _, begun = await asyncio.gather(*others)
        assert begun.user_id == bob.pk
        await until(is_waiting)  # the sweep does
        assert not any(task.done() for task in duplicates)
        done.set()
        found = await codes(duplicates)
    assert found == {"Begun": 1, "session_active": DUPLICATES - 1}
    assert swept == [user.pk]


async def test_who_waits_for_a_sweep_counts_and_is_stored_before_the_books_close(
    user, provider, upstream, turn, monkeypatch
):
    reached, done = Event(), Event()

    def slowly(user_id: int) -> int:
        reached.set()
        assert done.wait(60)
        return sweep(user_id)

    monkeypatch.setattr(writer, "sweep", slowly)
    await left_behind(user, turn)
    books = Books()
    duplicates = begin_all(books, user, turn)
    await asyncio.to_thread(reached.wait)
    # The task of the sweep, and those that wait for it.
    monkeypatch.setattr(writer, "MAX_WAITING", 1 + DUPLICATES)
    with pytest.raises(ChatError) as refused:
        await books.begin(user.pk, turn("Hi", session_id="s-2"))
    assert refused.value.code == "database_unavailable"
    closing = asyncio.create_task(books.close())
    await asyncio.sleep(0)
    done.set()
    await closing
    assert all(task.done() for task in duplicates)
    assert (await codes(duplicates))["Begun"] == 1


async def test_a_sweep_that_fails_refuses_those_who_wait_for_it(
    user, provider, upstream, turn, monkeypatch
):
    def fail(user_id: int) -> int:
        raise OperationalError("no connection")

    monkeypatch.setattr(writer, "sweep", fail)
    await left_behind(user, turn)
    found = await codes(begin_all(Books(), user, turn))
    assert found == {"database_unavailable": DUPLICATES}
