"""Conversations found by what was said in them."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llmchat.answers.answer import cancel_stream
from llmchat.answers.events import Done, Failed
from llmchat.books.conversations import history_hash, stored_hash
from llmchat.books.turn import Turn
from llmchat.database import in_database
from llmchat.errors import ChatError
from llmchat.models import Conversation
from llmchat.providers.types import ChatMessage
from tests.support.chat_fixtures import end_of, events_of, registered, stream_answer
from tests.support.turns import begin_turn


async def stored() -> list[list[str]]:
    """Return the messages of all conversations, the oldest first."""

    def read() -> list[list[str]]:
        rows = Conversation.objects.order_by("created_at")
        for row in rows:
            assert row.thread_hash == stored_hash(row.pk)
            assert row.message_count == row.messages.count()
        return [
            list(row.messages.order_by("position").values_list("content", flat=True))
            for row in rows
        ]

    return await in_database(read)


def test_the_hash_tells_roles_and_borders_apart():
    histories = [
        [],
        [("user", "a")],
        [("system", "a")],
        [("user", "a"), ("user", "b")],
        [("user", "ab")],
        [("user", "a\0user"), ("user", "b")],
        [("user", "a"), ("assistant", "b")],
    ]
    assert len({history_hash(history) for history in histories}) == len(histories)


async def test_a_new_chat_stores_the_history_that_was_sent(
    user, provider, upstream, turn
):
    await events_of(user, turn("one", "two", "three"))
    assert await stored() == [["one", "two", "three", "Hello"]]


async def test_an_edited_history_begins_a_new_conversation(
    user, provider, upstream, turn
):
    await events_of(user, turn("one"))
    await events_of(user, turn("one", "Hello!", "two"))
    assert await stored() == [["one", "Hello"], ["one", "Hello!", "two", "Hello"]]


async def test_the_same_first_prompt_begins_a_new_conversation(
    user, provider, upstream, turn
):
    await events_of(user, turn("one"))
    await events_of(user, turn("one"))
    assert await stored() == [["one", "Hello"]] * 2


async def test_of_two_equal_conversations_the_latest_goes_on(
    user, provider, upstream, turn
):
    first = await end_of(user, turn("one"))
    second = await end_of(user, turn("one"))
    third = await end_of(user, turn("one", "Hello", "two"))
    assert third.conversation_id == second.conversation_id != first.conversation_id


async def test_system_messages_count(user, provider, upstream):
    system = ChatMessage("system", "Be brief")
    one, two = ChatMessage("user", "one"), ChatMessage("user", "two")
    answer = ChatMessage("assistant", "Hello")
    await events_of(user, Turn("s-1", "test", (system, one)))
    await events_of(user, Turn("s-2", "test", (system, one, answer, two)))
    await events_of(user, Turn("s-3", "test", (one, answer, two)))
    assert await stored() == [
        ["Be brief", "one", "Hello", "two", "Hello"],
        ["one", "Hello", "two", "Hello"],
    ]


async def test_another_users_conversation_is_never_found(
    user, provider, upstream, turn
):
    await events_of(user, turn("one"))
    other = await in_database(lambda: get_user_model().objects.create_user("bob"))
    await events_of(other, turn("one", "Hello", "two"))
    assert await stored() == [["one", "Hello"], ["one", "Hello", "two", "Hello"]]


async def test_a_cancelled_answer_counts_with_the_text_that_was_sent(
    user, provider, upstream, turn
):
    upstream.steps = ("Hel", asyncio.Event())
    with registered(user, turn()) as stream:
        async with aclosing(stream_answer(turn=turn("one"), stream=stream)) as events:
            await anext(events)
            await anext(events)
            cancel_stream(user_id=user.pk, session_id="s-1")
            await anext(events)
    upstream.steps = ("Hello",)
    await events_of(user, turn("one", "Hel", "two"))
    assert await stored() == [["one", "Hel", "two", "Hello"]]


async def test_a_failed_answer_counts_with_the_text_that_was_sent(
    user, provider, upstream, turn
):
    upstream.cut = True
    assert isinstance(await end_of(user, turn("one")), Failed)
    upstream.cut = False
    await events_of(user, turn("one", "Hello", "two"))
    assert await stored() == [["one", "Hello", "two", "Hello"]]


async def test_an_answer_that_failed_without_text_is_not_in_the_history(
    user, provider, upstream, turn
):
    upstream.status = 401
    assert isinstance(await end_of(user, turn("one")), Failed)
    upstream.status = 200
    one, two = ChatMessage("user", "one"), ChatMessage("user", "two")
    await events_of(user, Turn("s-2", "test", (one, two)))
    assert await stored() == [["one", "", "two", "Hello"]]


async def test_a_refused_turn_in_the_middle_does_not_split_the_conversation(
    user, provider, upstream, turn
):
    await events_of(user, turn("one"))
    said = [
        ChatMessage("user", "one"),
        ChatMessage("assistant", "Hello"),
        ChatMessage("user", "refused"),
        ChatMessage("user", "two"),
    ]
    await events_of(user, Turn("s-2", "test", tuple(said)))
    assert await stored() == [["one", "Hello", "refused", "two", "Hello"]]


async def test_an_answer_with_a_nul_is_found_again(user, provider, upstream, turn):
    upstream.steps = ("a\0b",)
    done = await end_of(user, turn("one"))
    assert done.text == "a\0b"
    await events_of(user, turn("one", "a\ufffdb", "two"))
    assert len(await stored()) == 1


async def test_a_conversation_is_named_outright(user, provider, upstream, turn):
    done = await end_of(user, turn("one"))
    named = turn("two", conversation_id=done.conversation_id)
    assert (await end_of(user, named)).conversation_id == done.conversation_id
    assert await stored() == [["one", "Hello", "two", "Hello"]]
    await events_of(user, turn("one", "Hello", "two", "Hello", "three"))
    assert len(await stored()) == 1


async def test_a_conversation_of_another_user_is_not_found(
    user, provider, upstream, turn
):
    done = await end_of(user, turn("one"))
    other = await in_database(lambda: get_user_model().objects.create_user("bob"))
    for conversation_id in (done.conversation_id, uuid.uuid4()):
        with pytest.raises(ChatError) as refused:
            await events_of(other, turn("two", conversation_id=conversation_id))
        assert refused.value.code == "conversation_not_found"
    assert await stored() == [["one", "Hello"]]


async def test_two_tabs_with_one_history_do_not_mix(user, provider, upstream, turn):
    await events_of(user, turn("one"))
    await asyncio.gather(
        *(
            events_of(user, turn("one", "Hello", f"tab {n}", session_id=f"s-{n}"))
            for n in range(2)
        )
    )
    conversations = await stored()
    assert len(conversations) == 2
    assert sorted(texts[2] for texts in conversations) == ["tab 0", "tab 1"]


async def test_turns_of_one_conversation_side_by_side_are_found_again(
    user, provider, upstream, turn
):
    done = await end_of(user, turn("one"))
    ends = await asyncio.gather(
        *(
            end_of(
                user,
                turn(
                    f"tab {n}",
                    session_id=f"s-{n}",
                    conversation_id=done.conversation_id,
                ),
            )
            for n in range(2)
        )
    )
    assert all(isinstance(end, Done) for end in ends)
    (messages,) = await stored()
    assert len(messages) == 6


async def test_a_long_history_is_found_with_one_indexed_query(
    user, provider, upstream, turn
):
    history = [str(number) for number in range(501)]
    await events_of(user, turn(*history))

    def begin() -> list[str]:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            begin_turn(user.pk, turn(*history, "Hello", "more"))
        return [query["sql"] for query in queries.captured_queries]

    queries = await in_database(begin)
    lookups = [sql for sql in queries if "thread_hash" in sql and "SELECT" in sql]
    assert len(lookups) == 1
    assert len(queries) <= 12


async def test_the_lookup_is_a_search_of_the_index_of_threads(user):
    def plan() -> str:
        now = timezone.now()
        # Planners consider the number of rows, so there have to be some.
        Conversation.objects.bulk_create(
            Conversation(user=user, thread_hash=f"{n:064}", updated_at=now)
            for n in range(2000)
        )
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        rows = Conversation.objects.filter(user=user, thread_hash=f"{7:064}")
        return rows.order_by("-updated_at").explain()

    assert "conversation_thread" in await in_database(plan)
