"""The totals of days are those of the answers, whatever becomes of these."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from accounts.models import User
from llmchat.models import Conversation, DayChange, DayTotal, Message
from llmchat.reports import day_totals
from tests.support.admin_fixtures import make_conversation

FIGURES = {"input_tokens": 10, "output_tokens": 20, "cost": Decimal("0.25")}
ON_POSTGRESQL = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="SQLite keeps no totals"
)


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_user("ann")


def span() -> tuple[date, date]:
    today = datetime.now(UTC).date()
    return today - timedelta(days=29), today


def told() -> tuple[int, Decimal, list[tuple[int, int]]]:
    """Return what there is to see: answers, cost, and the answers of each user."""
    groups = day_totals.by_model(*span())
    users = day_totals.top_users(*span(), 10)
    return (
        sum(group.sums.answers for group in groups),
        sum((group.sums.cost or Decimal(0) for group in groups), Decimal(0)),
        [(ident, sums.answers) for ident, sums in users],
    )


def days_ago(days: int) -> timedelta:
    return timedelta(days=days)


def test_old_and_new_days_are_added_up_alike(ann: User) -> None:
    bob = User.objects.create_user("bob")
    for ago in (0, 1, 2, 3, 20, 29):
        make_conversation(ann, ago=days_ago(ago), **FIGURES)
    make_conversation(bob, ago=days_ago(5), state="error", provider="claude")
    make_conversation(ann, ago=days_ago(30), **FIGURES)
    make_conversation(ann, ago=days_ago(4), state="streaming")

    expected = (7, Decimal("1.5"), [(ann.pk, 6), (bob.pk, 1)])
    assert [told(), told()] == [expected, expected]
    kept = DayTotal.objects.filter(kind="day").count()
    assert kept == (28 if connection.vendor == "postgresql" else 0)
    (failed,) = (g for g in day_totals.by_model(*span()) if g.provider == "claude")
    assert (failed.day, failed.state) == (span()[1] - days_ago(5), "error")
    assert (failed.sums.cost, failed.sums.unpriced) == (None, 1)


@pytest.mark.parametrize("kept", [False, True])
def test_what_changes_later_changes_the_figures(ann: User, kept: bool) -> None:
    gone = make_conversation(ann, ago=days_ago(9), **FIGURES)
    late = make_conversation(ann, ago=days_ago(9), state="streaming")
    if kept:
        assert told()[:2] == (1, Decimal("0.25"))

    answer = late.messages.get(role="assistant")
    Message.objects.filter(pk=answer.pk).update(state="complete", cost=Decimal(2))
    assert told()[:2] == (2, Decimal("2.25"))
    make_conversation(ann, ago=days_ago(9), **FIGURES)
    assert told()[:2] == (3, Decimal("2.5"))
    gone.delete()
    assert told()[:2] == (2, Decimal("2.25"))
    Conversation.objects.all().delete()
    assert told() == (0, Decimal(0), [])


@ON_POSTGRESQL
def test_only_the_days_that_changed_are_added_up_anew(ann: User) -> None:
    rows = [make_conversation(ann, ago=days_ago(ago), **FIGURES) for ago in (0, 9, 8)]
    told()
    before = set(DayTotal.objects.values_list("pk", flat=True))
    rows[0].delete()
    rows[1].delete()
    assert DayChange.objects.count() == 2

    assert told()[0] == 1

    after = set(DayTotal.objects.values_list("pk", flat=True))
    fresh = DayTotal.objects.filter(pk__in=after - before)
    assert set(fresh.values_list("day", flat=True)) == {span()[1] - days_ago(9)}
    # Today's is read from the answers until the day is over.
    assert DayChange.objects.count() == 1


@ON_POSTGRESQL
def test_what_tells_nothing_of_its_end_changes_no_day(ann: User) -> None:
    row = make_conversation(ann, ago=days_ago(9), **FIGURES)
    DayChange.objects.all().delete()
    row.messages.update(content="Other words")
    row.messages.filter(role="user").delete()
    assert not DayChange.objects.exists()


@ON_POSTGRESQL
@pytest.mark.django_db(transaction=True)
def test_while_somebody_deletes_nothing_is_kept() -> None:
    ann = User.objects.create_user("ann")
    make_conversation(ann, ago=days_ago(9), **FIGURES)
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("DELETE FROM llmchat_message")
            assert told()[0] == 1
            assert not DayTotal.objects.exists()
        other.commit()
    finally:
        other.close()

    assert told()[0] == 0
    assert DayTotal.objects.exists()
