"""A question that replaces another question and everything after it."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from datetime import date
from threading import Barrier, Event
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction

from llmchat.answers.stopping import delete
from llmchat.books.batch import Result, store, store_alone
from llmchat.books.conversations import start_of, stored_hash
from llmchat.books.turn import Begun, End, Outcome, Turn
from llmchat.database import THREADS, in_database
from llmchat.errors import ChatError
from llmchat.models import Conversation, Message
from llmchat.models.budgets import today
from llmchat.providers.types import Usage
from llmchat.reports import own
from llmchat.reports.own_usage import use_of
from tests.support.chat_fixtures import User, end_of
from tests.support.turns import begin_turn, end_stored

TEXT_LENGTH = 1_000_000
WHOLE = Outcome(Message.State.COMPLETE, "Hello", Usage(7, 3, "provider"), "model-1")


def asked(user: User, turn: Turn) -> Begun:
    """Return a turn that has been answered."""
    begun = begin_turn(user.pk, turn)
    end_stored(begun, WHOLE)
    return begun


def instead(
    make: Callable[..., Turn], of: Begun, text: str, session_id: str = "s-1"
) -> Turn:
    return make(
        text,
        session_id=session_id,
        conversation_id=of.conversation_id,
        replaces=of.question_id,
    )


def read(begun: Begun) -> list[str]:
    """Return what is said in the conversation, after checking its books."""
    row = Conversation.objects.get(pk=begun.conversation_id)
    assert row.thread_hash == stored_hash(row.pk)
    said = own.messages_of(row).rows
    assert row.message_count - row.replaced_count == len(said)
    return [message.content for message in said]


def code_of(user: User, turn: Turn) -> str:
    with pytest.raises(ChatError) as refused:
        begin_turn(user.pk, turn)
    return refused.value.code


async def test_a_question_takes_the_place_of_another_and_of_all_behind_it(
    user, provider, upstream, turn
):
    def check() -> None:
        first = asked(user, turn("Hi"))
        second = asked(user, turn("Hi", "Hello", "More"))
        asked(user, turn("Hi", "Hello", "More", "Hello", "Last"))

        third = asked(user, instead(turn, second, "Less"))
        assert third.conversation_id == first.conversation_id
        assert read(first) == ["Hi", "Hello", "Less", "Hello"]
        # A client without ids continues the new thread, and never the old one.
        known = asked(user, turn("Hi", "Hello", "Less", "Hello", "On"))
        old = asked(user, turn("Hi", "Hello", "More", "Hello", "On"))
        assert known.conversation_id == first.conversation_id != old.conversation_id

        fourth = asked(user, instead(turn, first, "Hey"))
        assert read(first) == ["Hey", "Hello"]
        again = asked(user, turn("Hey", "Hello", "On"))
        assert again.conversation_id == fourth.conversation_id
        assert Conversation.objects.count() == 2

    await in_database(check)


async def test_what_is_replaced_counts_and_is_not_found(user, provider, upstream, turn):
    def check() -> None:
        asked(user, turn("Hi"))
        old = asked(user, turn("Hi", "Hello", "An old word"))
        asked(user, instead(turn, old, "A new one"))

        row = Conversation.objects.get()
        assert (row.turn_count, row.input_tokens, row.output_tokens) == (3, 21, 9)
        (day,) = use_of(user.pk, date.min, today())
        assert (day.answers, day.output_tokens) == (3, 9)
        assert row.messages.count() == 6
        found = [
            len(own.conversations_of(user.pk, search=text).rows)
            for text in ("old word", "new one", "Hello")
        ]
        assert found == [0, 1, 1]
        assert [m.content for m in own.all_messages_of(row)].count("Hello") == 3

        # The replaced messages are still what that answer replied to.
        then = own.messages_until(user.pk, old.message_id)
        said = [message.content for message in then]
        assert said == ["Hi", "Hello", "An old word", "Hello"]

    await in_database(check)


async def test_only_a_question_of_the_conversation_is_replaced(
    user, provider, upstream, turn
):
    def check() -> None:
        mine = asked(user, turn("Hi"))
        other = asked(user, turn("Another"))
        bob = User.objects.create_user("bob")
        gone = mine.question_id

        def code(who: User, ident: UUID) -> str:
            named = turn("Hey", conversation_id=mine.conversation_id, replaces=ident)
            return code_of(who, named)

        assert code(bob, gone) == "conversation_not_found"
        for ident in (uuid4(), mine.message_id, other.question_id):
            assert code(user, ident) == "message_not_found"
        assert read(mine) == ["Hi", "Hello"]

        running = begin_turn(user.pk, instead(turn, mine, "Hey"))
        assert code_of(user, instead(turn, running, "Ho", "s-2")) == (
            "conversation_active"
        )
        end_stored(running, WHOLE)
        assert code(user, gone) == "message_not_found"
        assert read(mine) == ["Hey", "Hello"]

    await in_database(check)


async def test_long_texts_behind_a_question_are_not_read_to_replace_it(
    user, provider, upstream, turn
):
    def check() -> None:
        first = asked(user, turn("Hi"))
        for number in range(8):
            more = turn(
                f"{number}" * TEXT_LENGTH, conversation_id=first.conversation_id
            )
            asked(user, more)
        named = instead(turn, first, "Hey")

        tracemalloc.start()
        try:
            begun = begin_turn(user.pk, named)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        end_stored(begun, WHOLE)

        assert peak < 4 * TEXT_LENGTH
        assert read(first) == ["Hey", "Hello"]

    await in_database(check)


async def test_turns_of_one_batch_see_what_the_others_do(
    user, provider, upstream, turn
):
    def check() -> None:
        first = asked(user, turn("Hi"))
        more = turn("More", session_id="s-2", conversation_id=first.conversation_id)
        running = begin_turn(user.pk, more)

        # The end of the answer, and two turns that replace its question.
        two = start_of(user.pk, instead(turn, running, "two", "s-4"))
        one = start_of(user.pk, instead(turn, running, "one", "s-3"))
        _, begun, refused = store([End(running, WHOLE), one, two])
        assert isinstance(begun, Begun)
        assert isinstance(refused, ChatError)
        assert refused.code == "conversation_active"
        refused = store_alone(two)
        assert isinstance(refused, ChatError)
        assert refused.code == "message_not_found"  # it has been replaced by then
        end_stored(begun, WHOLE)
        assert read(first) == ["Hi", "Hello", "one", "Hello"]

        # One turn that continues the conversation, and one that replaces part of it.
        results = store(
            [
                start_of(user.pk, more),
                start_of(user.pk, instead(turn, first, "Hey", "s-5")),
            ]
        )
        assert isinstance(results[0], Begun)
        assert isinstance(results[1], ChatError)
        assert results[1].code == "conversation_active"
        end_stored(results[0], WHOLE)
        assert read(first) == ["Hi", "Hello", "one", "Hello", "More", "Hello"]

    await in_database(check)


async def test_a_late_end_of_what_is_replaced_leaves_the_conversation_alone(
    user, provider, upstream, turn
):
    """The hash of the conversation is the one that the late answer began with."""

    def check() -> None:
        late = begin_turn(user.pk, turn("Hi"))
        Message.objects.filter(pk=late.message_id).update(state="interrupted")
        again = begin_turn(user.pk, instead(turn, late, "Hi"))
        assert again.thread_hash == late.thread_hash

        end_stored(late, WHOLE)
        assert read(late) == ["Hi", ""]
        end_stored(again, WHOLE)
        assert read(late) == ["Hi", "Hello"]

    await in_database(check)


async def test_one_of_many_at_once_replaces_a_question(user, provider, upstream, turn):
    first = await end_of(user, turn("Hi"))
    barrier = Barrier(THREADS)

    def replace(number: int) -> str:
        named = turn(
            f"tab {number}",
            session_id=f"s-{number}",
            conversation_id=first.conversation_id,
            replaces=first.question_id,
        )
        barrier.wait(10)
        try:
            begin_turn(user.pk, named)
        except ChatError as exc:
            return exc.code
        return "begun"

    results = await asyncio.gather(*(in_database(replace, n) for n in range(THREADS)))
    refused = {"conversation_active", "message_not_found"}
    assert results.count("begun") == 1
    assert {result for result in results if result != "begun"} <= refused


@pytest.mark.skipif(connection.vendor == "sqlite", reason="it locks the whole file")
async def test_what_is_replaced_already_is_not_locked_again(
    user, provider, upstream, turn
):
    old = await end_of(user, turn("Hi"))
    new = await in_database(lambda: asked(user, instead(turn, old, "Hey")))
    is_held, is_done = Event(), Event()

    def hold() -> None:
        with transaction.atomic():
            Message.objects.select_for_update().get(pk=old.message_id)
            is_held.set()
            is_done.wait(10)

    def replace() -> Result:
        is_held.wait(10)
        try:
            return store([start_of(user.pk, instead(turn, new, "Ho"))])[0]
        finally:
            is_done.set()

    begun, _ = await asyncio.gather(in_database(replace), in_database(hold))
    assert isinstance(begun, Begun)


async def test_a_conversation_that_is_deleted_meanwhile_stays_deleted(
    user, provider, upstream, turn
):
    first = await end_of(user, turn("Hi"))
    barrier = Barrier(2)

    def replace() -> str:
        named = turn(
            "Hey", conversation_id=first.conversation_id, replaces=first.question_id
        )
        barrier.wait(10)
        try:
            begin_turn(user.pk, named)
        except ChatError as exc:
            return exc.code
        return "begun"

    def remove() -> str:
        barrier.wait(10)
        delete(own.owned(user.pk, str(first.conversation_id)))
        return ""

    code, _ = await asyncio.gather(in_database(replace), in_database(remove))
    assert code in {"begun", "conversation_not_found"}
    assert not await in_database(Conversation.objects.exists)
    assert not await in_database(Message.objects.exists)
