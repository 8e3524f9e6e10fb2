"""A user's own usage and budgets, as a program reads them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.tokens import issue_tokens
from llmchat.models import Budget, Message, Reservation
from llmchat.models.budgets import today
from llmchat.reports.own_usage import budgets_of, use_of
from tests.support.admin_fixtures import make_conversation

pytestmark = pytest.mark.django_db(transaction=True)

State = Message.State


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann", password="correct horse battery")


@pytest.fixture
def ask(ann: User, client: Client) -> Callable[..., Any]:
    headers = {"authorization": f"Bearer {issue_tokens(user=ann).access}"}

    def ask(**query: str) -> Any:
        return client.get("/llm/usage", query, headers=headers)

    return ask


def used(user: User, day: datetime) -> None:
    row = make_conversation(
        user, input_tokens=3, output_tokens=5, cost=Decimal("0.0000130000")
    )
    row.messages.update(created_at=day)


def test_use_is_told_by_day_and_provider(ann: User, ask: Callable[..., Any]) -> None:
    bob = User.objects.create_user("bob")
    last = datetime(2026, 5, 31, 23, 59, 59, 999999, tzinfo=UTC)
    for moment in (last, last - timedelta(hours=23), last + timedelta(seconds=1)):
        used(ann, moment)
    used(bob, last)
    make_conversation(ann, provider="")  # sent by a client as history
    make_conversation(ann, state=State.STREAMING)
    used(ann, last - timedelta(days=1))

    answer = ask(**{"from": "2026-05-31", "to": "2026-05-31"})

    assert answer.status_code == 200
    assert answer.json()["results"] == [
        {
            "date": "2026-05-31",
            "provider": "openai",
            "answers": 2,
            "inputTokens": 6,
            "outputTokens": 10,
            "cost": "0.000026",
            "unpriced": 0,
        }
    ]
    days = ask(**{"from": "2026-05-01", "to": "2026-06-01"}).json()["results"]
    assert [row["date"] for row in days] == ["2026-05-30", "2026-05-31", "2026-06-01"]


def test_the_default_is_the_last_thirty_days(
    ann: User, ask: Callable[..., Any]
) -> None:
    noon = datetime.combine(today(), datetime.min.time(), UTC) + timedelta(hours=12)
    for ago in (31, 28, 0):
        used(ann, noon - timedelta(days=ago))
    failed = make_conversation(ann, state=State.ERROR, provider="claude")
    assert failed.messages.count() == 2  # without any count or cost

    answer = ask()

    told = [(row["provider"], row["outputTokens"]) for row in answer.json()["results"]]
    assert told == [("openai", 5), ("claude", 0), ("openai", 5)]
    assert answer.json()["budgets"] == []
    assert ask().headers["ETag"] == answer.headers["ETag"]


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ("yesterday", "", "from: must be a day"),
        ("20260101", "", "from: must be a day"),
        ("", "2026-02-30", "to: must be a day"),
        ("", "0001-01-01", "to: must be a day"),
        ("", "9999-12-31", "to: must be a day"),
        ("2026-01-02", "2026-01-01", "from: must not be later than `to`"),
        (
            "2025-01-01",
            "2026-01-02",
            "from: the range up to `to` must be at most 366 days",
        ),
    ],
)
def test_days_that_cannot_be_asked_for_are_refused_in_words(
    ask: Callable[..., Any], first: str, last: str, said: str
) -> None:
    answer = ask(**{"from": first, "to": last})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert answer.json()["error"].startswith(said)


def test_a_leap_year_is_not_too_much(ask: Callable[..., Any]) -> None:
    assert ask(**{"from": "2028-01-01", "to": "2028-12-31"}).status_code == 200


def test_budgets_say_what_is_left_and_when_they_renew(
    ann: User, ask: Callable[..., Any]
) -> None:
    ours, theirs = (Group.objects.create(name=name) for name in ("ours", "theirs"))
    ann.groups.add(ours)
    User.objects.create_user("bob").groups.add(ours, theirs)
    mine = Budget.objects.create(user=ann, limit=100, spent=30)
    Budget.objects.create(group=theirs, limit=1)
    for amount in (20, 25):
        Reservation.objects.create(budget=mine, message_id=uuid4(), amount=amount)
    Budget.objects.create(
        group=ours,
        period=Budget.Period.MONTH,
        unit=Budget.Unit.DOLLARS,
        limit=Decimal("2.5"),
        period_start=today().replace(day=1) - timedelta(days=40),
        spent=2,  # of a month that is over
    )

    told = ask().json()["budgets"]

    tomorrow = today() + timedelta(days=1)
    assert told[0] == {
        "period": "day",
        "unit": "tokens",
        "limit": "100",
        "spent": "30",
        "reserved": "45",
        "left": "25",
        "renewsAt": f"{tomorrow}T00:00:00+00:00",
        "of": "user",
        "noticePercent": 80,
        "notice": False,
    }
    assert [told[1][name] for name in ("unit", "spent", "left", "of")] == [
        "dollars",
        "0",
        "2.5",
        "group",
    ]
    assert len(told) == 2


def test_an_overdrawn_budget_has_nothing_left(ann: User) -> None:
    Budget.objects.create(user=ann, limit=10, spent=30)

    assert budgets_of(ann.pk)[0].left == 0


def test_it_is_one_query_each_however_much_there_is(
    ann: User, django_assert_num_queries: Any
) -> None:
    for number in range(4):
        group = Group.objects.create(name=f"group {number}")
        ann.groups.add(group)
        Budget.objects.create(group=group, limit=1)
        used(ann, timezone.now() - timedelta(days=number + 1))

    with django_assert_num_queries(2):
        assert len(use_of(ann.pk, today() - timedelta(days=9), today())) == 4
        assert len(budgets_of(ann.pk)) == 4


def test_without_a_token_nothing_is_told(client: Client) -> None:
    answer = client.get("/llm/usage/")

    assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
