"""The lists linked by the front page are as long as it says, without a count."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from llmchat.admin.counting import known_count
from llmchat.books import day_totals
from llmchat.models import Conversation, DayChange, DayTotal, Message, Provider
from llmchat.models.budgets import today
from tests.support.admin_fixtures import past_conversation, store

LIST = "/admin/llmchat/message/"
TOTALS = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="SQLite keeps no totals"
)


@pytest.fixture(autouse=True)
def past(db: None) -> None:
    DayTotal.objects.all().delete()
    DayChange.objects.all().delete()
    ann = User.objects.create_user("ann")
    states = ("complete", "error", "interrupted", "cancelled", "streaming")
    store(
        past_conversation(
            ann,
            ago=timedelta(days=number % 11),
            provider=("openai", "claude", "")[number % 3],
            model=("model-1", "model-2", "")[number % 7 % 3],
            state=states[number % 5],
            finish_reason=("stop", "length", "content_filter")[number % 4 % 3],
            cost=None if number % 3 else 1,
        )
        for number in range(60)
    )


def days(first: int = 9, last: int = 0) -> dict[str, str]:
    return {
        "created_at_from": f"{today() - timedelta(days=first)}",
        "created_at_to": f"{today() - timedelta(days=last)}",
    }


KNOWN: list[dict[str, str]] = [
    {"outcome": "ended"},
    {"outcome": "ended", "p": "1"},
    {"outcome": "ended", "provider": ""},
    {"outcome": "ended", "provider": "openai"},
    {"outcome": "ended", "provider": "nobody"},
    {"outcome": "ended", "model": "model-2", "o": "-1"},
    {"outcome": "ended", "model": ""},
    {"outcome": "ended", "cost__isnull": "True"},
    {"outcome": "failed", "provider": "claude", "model": "model-1"},
    *({"outcome": name} for name in ("complete", "length", "content_filter")),
    *({"outcome": name} for name in ("failed", "interrupted", "cancelled")),
]
OTHERS: list[dict[str, str]] = [
    {},
    {"outcome": "streaming"},
    {"outcome": "nonsense"},
    {"outcome": "ended", "role__exact": "assistant"},
    {"outcome": "ended", "cost__isnull": "False"},
    {"outcome": "ended", "finish_reason": "stop"},
    {"outcome": "ended", "user__id__exact": "1"},
    {"outcome": "ended", "created_at_from": "2026-02-31"},
    {"outcome": "ended", "created_at_to": ""},
    {"outcome": "ended", "created_at_from": "9999-01-01"},
    {"outcome": "ended", "created_at_to": "9999-12-31"},
]


def shown(client: Client, query: dict[str, str]) -> tuple[int, int, bool]:
    """Return a list's stated and actual length, and whether its rows were counted."""
    with CaptureQueriesContext(connection) as asked:
        page: Any = client.get(f"{LIST}?{urlencode(query)}")
    assert page.status_code == 200
    counts = [
        one["sql"]
        for one in asked.captured_queries
        if "COUNT(*)" in one["sql"] and "llmchat_message" in one["sql"]
    ]
    cl = page.context["cl"]
    return cl.result_count, cl.queryset.count(), bool(counts)


@pytest.mark.parametrize("query", KNOWN, ids=urlencode)
def test_a_list_is_as_long_as_the_totals_say(
    admin_client: Client, query: dict[str, str]
) -> None:
    for first, last in ((9, 0), (4, 2), (3, 3)):
        query = query | days(first, last)
        said, there, _ = shown(admin_client, query)
        assert said == there
        day_totals.keep()
        is_kept = connection.vendor == "postgresql"
        assert shown(admin_client, query) == (there, there, not is_kept)

    Conversation.objects.filter(messages__model="model-2", provider="openai").delete()
    Message.objects.filter(state="error", provider="claude").update(state="complete")
    said, there, _ = shown(admin_client, query)
    assert said == there


def test_a_provider_is_filtered_by_when_all_are_deleted(admin_client: Client) -> None:
    Provider.objects.all().delete()
    for name, model in (("message", Message), ("conversation", Conversation)):
        page: Any = admin_client.get(f"/admin/llmchat/{name}/?provider=claude")
        there = model._default_manager.filter(provider="claude").count()
        assert page.context["cl"].result_count == there > 0


@TOTALS
@pytest.mark.parametrize("query", OTHERS, ids=urlencode)
def test_what_the_totals_do_not_know_is_counted(
    admin_client: Client, query: dict[str, str]
) -> None:
    day_totals.keep()
    assert known_count(QueryDict(urlencode(days() | query))) is None
    if query.get("created_at_from") != "9999-01-01":
        said, there, counted = shown(admin_client, days() | query)
        assert (said, counted) == (there, True)


@TOTALS
def test_what_no_database_can_hold_is_in_no_list(admin_client: Client) -> None:
    day_totals.keep()
    query = days() | {"outcome": "ended", "provider": "a\0b"}
    assert known_count(QueryDict(urlencode(query))) is None
    assert shown(admin_client, query)[:2] == (0, 0)


@TOTALS
def test_what_is_asked_for_twice_is_counted() -> None:
    day_totals.keep()
    query = urlencode(days() | {"outcome": "ended"})
    assert known_count(QueryDict(query)) is not None
    assert known_count(QueryDict(f"{query}&provider=a&provider=b")) is None


@TOTALS
def test_days_that_are_not_all_added_up_are_counted(admin_client: Client) -> None:
    day_totals.keep()
    DayTotal.objects.filter(day=today() - timedelta(days=4)).delete()
    query = days() | {"outcome": "ended"}
    assert shown(admin_client, query)[2]
    said, there, _ = shown(admin_client, query)
    assert said == there
