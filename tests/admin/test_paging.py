"""A page of a long list is the same read from either end, and reads few rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.paginator import EmptyPage, Paginator
from django.db import connection
from django.db.models import F, QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from llmchat.admin import paging
from llmchat.admin.paging import NearerEnd
from llmchat.models import Conversation

ROWS = 103


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "_FEW", 10)
    monkeypatch.setattr(paging, "_ALIKE", 4)


@pytest.fixture
def rows(db: None) -> QuerySet[Conversation]:
    """Conversations of which every three are equally old, and many cost the same."""
    ann = User.objects.create_user("ann")
    now = timezone.now()
    Conversation.objects.bulk_create(
        Conversation(
            user=ann,
            provider="openai",
            updated_at=now - timedelta(minutes=number // 3),
            cost=number % 4,
            input_tokens=number % 9,
        )
        for number in range(ROWS)
    )
    return Conversation.objects.select_related("user")


@pytest.mark.parametrize(
    "order",
    [
        ("-updated_at", "-pk"),
        ("updated_at", "pk"),
        ("-cost", "-pk"),
        ("provider", "-pk"),
        ("user", "-pk"),
        ((F("input_tokens") + F("output_tokens")).desc(), "-pk"),
        ("-pk",),
    ],
    ids=repr,
)
@pytest.mark.parametrize("size", [7, 30, 200])
def test_each_page_is_the_one_that_django_reads(
    rows: QuerySet[Any], order: Any, size: int
) -> None:
    ordered = rows.order_by(*order)
    ours, theirs = NearerEnd(ordered, size), Paginator(ordered, size)

    for number in theirs.page_range:
        assert list(ours.page(number)) == list(theirs.page(number)), number
    with pytest.raises(EmptyPage):
        ours.page(theirs.num_pages + 1)


def test_of_no_rows_there_is_one_page(db: None) -> None:
    paginator = NearerEnd(Conversation.objects.order_by("-updated_at"), 10)
    assert list(paginator.page(1)) == []


def test_a_list_may_become_shorter_than_it_was_counted(rows: QuerySet[Any]) -> None:
    paginator = NearerEnd(rows.order_by("-updated_at", "-pk"), 7)
    assert paginator.count == ROWS
    kept = [row.pk for row in paginator.page(1)]
    Conversation.objects.exclude(pk__in=kept).delete()
    pages = [list(paginator.page(number)) for number in paginator.page_range]
    assert [row.pk for row in pages[0]] == kept
    assert pages[4] == pages[7] == []
    assert {row.pk for page in pages for row in page} == set(kept)


@pytest.mark.parametrize("number", [1, 2, 5, 8, 14, 15])
def test_what_is_in_front_of_a_page_is_not_joined(
    rows: QuerySet[Any], number: int
) -> None:
    paginator = NearerEnd(rows.order_by("-updated_at", "-pk"), 7)
    with CaptureQueriesContext(connection) as asked:
        page = list(paginator.page(number))
        assert page[0].user.username == "ann"

    assert len(asked) <= 3
    joined = [q["sql"] for q in asked.captured_queries if "JOIN" in q["sql"]]
    skipped = [sql.rpartition("OFFSET ")[2] for sql in joined if "OFFSET" in sql]
    assert all(int(offset) < 10 for offset in skipped), joined


def test_a_link_of_a_list_is_worked_out_once() -> None:
    lists = paging.PageList.__new__(paging.PageList)
    lists.filter_params = {"q": ["a"], "p": ["2"]}
    assert lists.get_query_string() == "?p=2&q=a"
    assert lists.get_query_string(remove=["p"]) == "?q=a"
    assert lists.get_query_string({"o": "1"}, ["p"]) == "?o=1&q=a"
    assert lists.get_query_string({"o": "1"}) == "?o=1&p=2&q=a"
    lists.filter_params = {}
    assert lists.get_query_string({"o": "1"}, ["p"]) == "?o=1&q=a"
