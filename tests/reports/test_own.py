"""Reading their own conversations costs users the same, however many there are."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from llmchat.models import Conversation, Message, Piece
from llmchat.reports import own

MANY = 1000
# The target is 50 ms, but the suite shares its machine.
LIMIT_S = 0.5


@pytest.fixture
def user_id() -> int:
    return store_conversations(10)


def store_conversations(each: int) -> int:
    """Store this many conversations of two users; return the id of one of them."""
    users = get_user_model().objects
    now = timezone.now()
    ids = [users.create_user(name, password=None).pk for name in ("ann", "bob")]
    rows = [
        Conversation(
            user_id=ids[number % 2],
            title=f"About {number}",
            created_at=now,
            # Some of them at the same moment.
            updated_at=now - timedelta(seconds=number // 10),
        )
        for number in range(2 * each)
    ]
    Conversation.objects.bulk_create(rows)
    Message.objects.bulk_create(
        Message(
            conversation=row,
            user_id=row.user_id,
            position=position,
            role="user",
            content=f"{row.title}, word {position}",
            created_at=row.updated_at,
        )
        for row in rows
        for position in range(4)
    )
    return int(ids[0])


def soon(read: Callable[[], Any]) -> Any:
    """Read within the limit, in one of three tries: a machine can stall in between."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        result = read()
        times.append(time.perf_counter() - began)
        if times[-1] < LIMIT_S:
            return result
    raise AssertionError(f"too slow: {times}")


@pytest.mark.django_db
def test_a_thousand_conversations(django_assert_max_num_queries) -> None:
    user_id = store_conversations(MANY)

    def page_at(cursor: str) -> Any:
        with django_assert_max_num_queries(1):
            return own.conversations_of(user_id, cursor=cursor, limit=200)

    def searched() -> tuple[Any, Any]:
        # PostgreSQL parses the text, and might search twice.
        with django_assert_max_num_queries(7):
            [row] = own.conversations_of(user_id, search="About 14, word 3").rows
            found = own.conversation_of(user_id, str(row.pk))
            return row, own.messages_of(found).rows

    seen = []
    cursor: str | None = ""
    while cursor is not None:
        page = soon(partial(page_at, cursor))
        seen += [row.pk for row in page.rows]
        cursor = page.cursor
    assert len(seen) == len(set(seen)) == MANY

    row, messages = soon(searched)
    assert row.title == "About 14"
    assert [message.position for message in messages] == [0, 1, 2, 3]


@pytest.mark.django_db
def test_a_search_for_ones_own_name_finds_what_says_it(user_id: int) -> None:
    row = own.conversations_of(user_id, limit=1).rows[0]
    Conversation.objects.filter(pk=row.pk).update(title="A letter from Ann")

    found = own.conversations_of(user_id, search="ann").rows

    assert [one.pk for one in found] == [row.pk]


@pytest.mark.django_db
def test_an_answer_that_ends_while_it_is_read_is_read_whole(
    user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = own.conversations_of(user_id, limit=1).rows[0]
    answer = Message.objects.get(conversation=row, position=3)
    Message.objects.filter(pk=answer.pk).update(state="streaming", content="")
    Piece.objects.create(
        message_id=answer.pk, start=0, text="Hel", written_at=timezone.now()
    )
    assert own.messages_of(row).rows[3].content == "Hel"

    def ends_first(idents: list[UUID]) -> dict[UUID, str]:
        Piece.objects.all().delete()
        Message.objects.filter(pk=answer.pk).update(state="complete", content="Hello")
        return {}

    monkeypatch.setattr("llmchat.models.workers.texts_of", ends_first)
    assert own.messages_of(row).rows[3].content == "Hello"


@pytest.mark.django_db
def test_messages_come_in_pages(user_id: int) -> None:
    row = own.conversations_of(user_id, limit=1).rows[0]
    first = own.messages_of(row, limit=3)
    assert first.cursor is not None
    rest = own.messages_of(row, cursor=first.cursor, limit=3)

    positions = [message.position for message in (*first.rows, *rest.rows)]
    assert positions == [0, 1, 2, 3]
    assert rest.cursor is None
