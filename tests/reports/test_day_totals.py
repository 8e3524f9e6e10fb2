"""The totals of days match the answers, whatever happens to the answers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.apps.registry import Apps
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from llmchat.books import day_sums
from llmchat.books import day_totals as kept
from llmchat.models import Conversation, DayChange, DayTotal, Message
from llmchat.models.budgets import today
from llmchat.models.day_totals import SPAN_DAYS
from llmchat.reports import day_totals, usage
from tests.support.admin_fixtures import make_conversation
from tests.support.databases import is_waited_for

FIGURES = {"input_tokens": 10, "output_tokens": 20, "cost": Decimal("0.25")}
ON_POSTGRESQL = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="SQLite keeps no totals"
)


@pytest.fixture
def ann(db: None) -> User:
    forget()
    return User.objects.create_user("ann")


def forget() -> None:
    """Delete all totals, so that no day is added up."""
    DayTotal.objects.all().delete()
    DayChange.objects.all().delete()


def span(days: int = 30) -> tuple[date, date]:
    return today() - timedelta(days=days - 1), today()


def told() -> tuple[int, Decimal, list[tuple[int, int]]]:
    """Return the reported answers and cost, and the answers of each user."""
    groups = day_totals.by_model(*span())
    users = day_totals.top_users(*span(), 10)
    return (
        sum(group.sums.answers for group in groups),
        sum((group.sums.cost or Decimal(0) for group in groups), Decimal(0)),
        [(ident, sums.answers) for ident, sums in users],
    )


def days_ago(days: int) -> timedelta:
    return timedelta(days=days)


def all_figures(days: int) -> list[object]:
    """Return everything that is reported on the last days."""
    groups = day_totals.by_model(*span(days))
    return [
        sorted(groups, key=lambda group: repr(group)),
        day_totals.top_users(*span(days), 50),
        day_totals.to_price(*span(days), 50),
    ]


def test_old_and_new_days_are_added_up_alike(ann: User) -> None:
    bob = User.objects.create_user("bob")
    for ago in (0, 1, 2, 3, 20, 29):
        make_conversation(ann, ago=days_ago(ago), **FIGURES)
    make_conversation(bob, ago=days_ago(5), state="error", provider="claude")
    make_conversation(ann, ago=days_ago(30), **FIGURES)
    make_conversation(ann, ago=days_ago(4), state="streaming")

    expected = (7, Decimal("1.5"), [(ann.pk, 6), (bob.pk, 1)])
    assert told() == expected
    kept.keep()
    assert told() == expected
    (failed,) = (g for g in day_totals.by_model(*span()) if g.provider == "claude")
    assert (failed.day, failed.state) == (span()[1] - days_ago(5), "error")
    assert (failed.sums.cost, failed.sums.unpriced) == (None, 1)


@pytest.mark.parametrize("when", ["never", "before", "after", "both"])
def test_what_changes_later_changes_the_figures(ann: User, when: str) -> None:
    gone = make_conversation(ann, ago=days_ago(9), **FIGURES)
    late = make_conversation(ann, ago=days_ago(9), state="streaming")
    if when in ("before", "both"):
        kept.keep()
    assert told()[:2] == (1, Decimal("0.25"))

    def then(*expected: object) -> None:
        assert told()[: len(expected)] == expected
        if when in ("after", "both"):
            kept.keep()
            assert told()[: len(expected)] == expected

    answers = Message.objects.filter(conversation=late, role="assistant")
    answers.update(state="complete", cost=Decimal(2))
    then(2, Decimal("2.25"), [(ann.pk, 2)])
    answers.update(cost=None)
    then(2, Decimal("0.25"))
    make_conversation(ann, ago=days_ago(9), **FIGURES)
    then(3, Decimal("0.5"))
    gone.delete()
    then(2, Decimal("0.25"))
    bob = User.objects.create_user("bob")
    answers.update(user=bob, created_at=datetime.now(UTC) - days_ago(3))
    then(2, Decimal("0.25"), [(ann.pk, 1), (bob.pk, 1)])
    answers.update(state="streaming")
    then(1, Decimal("0.25"), [(ann.pk, 1)])
    Conversation.objects.all().delete()
    then(0, Decimal(0), [])


@pytest.mark.parametrize("days", usage.RANGES)
def test_what_is_kept_is_what_is_stored(ann: User, days: int) -> None:
    for number in range(60):
        make_conversation(
            User.objects.get_or_create(username=f"user-{number % 7}")[0],
            ago=days_ago(number * 37 % 95),
            provider=("openai", "claude")[number % 2],
            model=f"model-{number % 3}",
            state=("complete", "complete", "error", "cancelled")[number % 4],
            finish_reason=("stop", "length")[number % 5 == 0],
            input_tokens=number % 6 or None,
            output_tokens=number,
            cost=Decimal(number) / 7 if number % 3 else None,
        )
    stored = all_figures(days)
    kept.keep()
    assert all_figures(days) == stored

    Message.objects.filter(position=1, output_tokens__lt=30).update(cost=Decimal(1))
    Conversation.objects.filter(user__username="user-3").delete()
    noted = all_figures(days)
    kept.keep()
    added = all_figures(days)
    forget()
    assert [noted, added] == [all_figures(days)] * 2
    assert noted != stored or days == 1


@ON_POSTGRESQL
def test_a_page_reads_totals_and_adds_up_nothing(ann: User) -> None:
    for ago in range(12):
        make_conversation(ann, ago=days_ago(ago), **FIGURES)
    kept.keep()
    make_conversation(ann, **FIGURES)

    with CaptureQueriesContext(connection) as asked:
        assert told()[0] == 13

    texts = " ".join(query["sql"] for query in asked.captured_queries)
    assert "llmchat_message" not in texts
    assert "INSERT" not in texts
    assert DayChange.objects.count() == 1


@ON_POSTGRESQL
def test_days_that_are_not_added_up_yet_are_read_from_the_answers(ann: User) -> None:
    for ago in (0, 4, 5, 20):
        make_conversation(ann, ago=days_ago(ago), **FIGURES)
    kept.keep()
    before = all_figures(30)
    for ago in (0, 5, 29):
        day = today() - days_ago(ago)
        DayTotal.objects.filter(day=day).exclude(kind="span").delete()
        assert all_figures(30) == before


@ON_POSTGRESQL
def test_each_step_is_a_small_one(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "CHANGES_AT_ONCE", 2)
    for ago in (0, 0, 3, 9, 9, 9):
        make_conversation(ann, ago=days_ago(ago), **FIGURES)
    expected = told()
    steps = iter(kept.keep_some, False)

    for _ in steps:
        assert told() == expected

    assert not DayChange.objects.exists()
    markers = DayTotal.objects.filter(kind="day")
    assert set(markers.values_list("day", flat=True)) == {
        today() - days_ago(ago) for ago in range(max(usage.RANGES))
    }
    assert not kept.keep_some()


@ON_POSTGRESQL
def test_a_part_of_the_applications_is_migrated_without_them(
    db: None, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        kept.on_migrate([(None, False)], apps=Apps(installed_apps=()))


@ON_POSTGRESQL
def test_old_days_are_forgotten(ann: User) -> None:
    kept.keep()
    figures = {"unpriced": 0, "to_price": 0, "input_tokens": 0, "output_tokens": 0}
    for kind in ("day", "model", "user", "span"):
        long_ago = today() - days_ago(kept.DAYS + SPAN_DAYS)
        row = {"kind": kind, "day": long_ago, "cost": 0, "answers": 1}
        DayTotal.objects.create(**row, **figures)

    kept.keep()

    oldest = today() - days_ago(kept.DAYS)
    assert not DayTotal.objects.filter(day__lt=oldest).exists()
    assert not DayTotal.objects.filter(answers__gt=0).exists()
    assert DayTotal.objects.filter(kind="day").count() == kept.DAYS


@ON_POSTGRESQL
def test_what_tells_nothing_of_its_end_is_not_noted(ann: User) -> None:
    row = make_conversation(ann, ago=days_ago(9), **FIGURES)
    make_conversation(ann, state="streaming")
    make_conversation(ann, provider="", **FIGURES)
    DayChange.objects.all().delete()
    row.messages.update(content="Other words")
    row.messages.filter(role="user").delete()
    Message.objects.filter(state="streaming").update(model="model-2")
    assert not DayChange.objects.exists()


@pytest.fixture
def other(other_connection: Any) -> Any:
    return other_connection


@ON_POSTGRESQL
def test_nobody_waits_for_who_is_at_the_totals(other: Any) -> None:
    ann = User.objects.create_user("ann")
    make_conversation(ann, ago=days_ago(9), **FIGURES)
    with other.cursor() as cursor:
        cursor.execute("DELETE FROM llmchat_message")
        kept.keep()
        assert told()[0] == 1
        make_conversation(ann, ago=days_ago(9), **FIGURES)
        assert told()[0] == 2
        # The other transaction's notes are not visible yet, but must not get lost.
        other.commit()

    assert told()[0] == 1
    kept.keep()
    assert told()[0] == 1


@ON_POSTGRESQL
@pytest.mark.parametrize(
    "held",
    [
        "LOCK TABLE llmchat_daytotal IN SHARE UPDATE EXCLUSIVE MODE",
        # As earlier versions do.
        f"SELECT pg_advisory_xact_lock({day_sums.LOCK})",
    ],
)
def test_one_process_at_a_time_is_at_the_totals(other: Any, held: str) -> None:
    forget()
    with other.cursor() as cursor:
        cursor.execute(held)
        kept.keep()
        assert not DayTotal.objects.exists()
        other.commit()

    kept.keep()
    assert DayTotal.objects.filter(kind="day").count() == kept.DAYS


@ON_POSTGRESQL
def test_a_step_sees_what_came_while_it_waited_for_another(other: Any) -> None:
    """The other drops the note of the new answer, as the day is not added up yet."""
    ann = User.objects.create_user("ann")
    make_conversation(ann, ago=days_ago(9), **FIGURES)
    day = today() - days_ago(9)

    def add_up() -> None:
        try:
            with day_sums._counting([day], day_sums._ONE_MOMENT) as execute:
                execute(day_sums._COUNT, day_sums._values([day]))
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool, other.cursor() as cursor:
        cursor.execute("LOCK TABLE llmchat_daytotal IN SHARE UPDATE EXCLUSIVE MODE")
        step = pool.submit(add_up)
        while not is_waited_for(cursor, DayTotal._meta.db_table):
            assert not step.done()
        make_conversation(ann, ago=days_ago(9), **FIGURES)
        cursor.execute("DELETE FROM llmchat_daychange")
        other.commit()
        step.result()

    assert told()[0] == 2
    assert DayTotal.objects.get(kind="user", day=day).answers == 2


COPIES = """
    INSERT INTO llmchat_message
        (id, conversation_id, user_id, position, role, content, state, created_at,
         session_id, provider, model, finish_reason, error_code, usage_source,
         attempts, worker, stop_requested, output_tokens)
    SELECT gen_random_uuid(), conversation_id, user_id, number, role, content, state,
        date_trunc('day', created_at, 'UTC') + number * interval '2 seconds',
        session_id, provider, model, finish_reason, error_code, usage_source, attempts,
        worker, stop_requested, 7
    FROM llmchat_message, generate_series(2, 40001) AS copies(number)
    WHERE role = 'assistant'"""


@pytest.fixture
def full_day(transactional_db: None) -> None:
    """Store a day with 40,001 answers that is not added up."""
    forget()
    make_conversation(User.objects.create_user("ann"), ago=days_ago(3))
    with connection.cursor() as cursor:
        cursor.execute(COPIES)
    DayChange.objects.all().delete()


# For each statement, a query for the number of rows that it has to add up.
ADDED_UP = {
    day_sums._MERGE: "SELECT least(%s, (SELECT count(*) FROM llmchat_daychange))",
    day_sums._COUNT: "SELECT count(*) FROM llmchat_message "
    "WHERE created_at >= %(since)s AND created_at < %(until)s",
}
QUICKLY_ADDED_UP = 15_000


@contextmanager
def short_deadline() -> Iterator[list[int]]:
    """Have the server cancel statements that add up many rows, and no others.

    It is as if the machine were much slower. Yields a list, which gets the number of
    rows of each canceled statement.
    """
    ended: list[int] = []

    def slow(execute: Any, sql: str, values: Any, many: bool, context: Any) -> Any:
        if how_many := ADDED_UP.get(sql):
            execute(how_many, values, False, context)
            rows = context["cursor"].fetchone()[0]
            if rows > QUICKLY_ADDED_UP:
                ended.append(rows)
                execute("SET LOCAL statement_timeout = '50ms'", None, False, context)
                execute("SELECT pg_sleep(60)", None, False, context)
        return execute(sql, values, many, context)

    with connection.execute_wrapper(slow):
        yield ended


@ON_POSTGRESQL
def test_a_day_that_takes_too_long_is_added_up_in_parts(full_day: None) -> None:
    with short_deadline() as ended:
        kept.keep()

    with_others, alone, *halves = ended
    assert with_others == alone == sum(halves) > 40_000
    assert DayTotal.objects.filter(kind="day").count() == kept.DAYS
    assert told() == (40_001, Decimal(0), [(User.objects.get().pk, 40_001)])


@ON_POSTGRESQL
def test_what_changes_between_the_parts_is_counted_once(
    full_day: None, other: Any
) -> None:
    def meanwhile() -> bool:
        with other.cursor() as cursor:
            cursor.execute(
                "WITH few AS (SELECT id FROM llmchat_message WHERE role = 'assistant'"
                " ORDER BY id LIMIT 10)"
                " DELETE FROM llmchat_message USING few"
                " WHERE few.id = llmchat_message.id"
            )
            asked.append(cursor.rowcount)
            other.commit()
        return True

    asked: list[int] = []
    with short_deadline():
        while kept.keep_some(meanwhile):
            pass

    assert len(asked) > 2
    assert told()[0] == 40_001 - sum(asked)
    kept.keep()
    assert told()[0] == 40_001 - sum(asked)


@ON_POSTGRESQL
def test_a_server_that_stops_waits_for_no_day(full_day: None) -> None:
    before = told()
    with short_deadline() as ended:
        while kept.keep_some(lambda: False):
            pass
    assert ended
    assert told() == before
    day = today() - days_ago(3)
    assert not DayTotal.objects.filter(day=day, kind="day").exists()


@ON_POSTGRESQL
def test_notes_that_take_too_long_are_added_in_parts(full_day: None) -> None:
    kept.keep()
    Message.objects.filter(position__lte=10_100).update(output_tokens=8)
    assert DayChange.objects.count() > kept.CHANGES_AT_ONCE
    expected = told()

    with short_deadline() as ended:
        kept.keep()

    assert ended
    assert not DayChange.objects.exists()
    assert told() == expected


@ON_POSTGRESQL
@pytest.mark.parametrize(
    "which", ["TRUE", "kind = 'span'", "kind = 'day'", "day < current_date - 15"]
)
def test_totals_that_somebody_deletes_are_added_up_anew(ann: User, which: str) -> None:
    for ago in range(30):
        make_conversation(ann, ago=days_ago(ago), **FIGURES)
    kept.keep()
    expected = all_figures(30)
    spans = DayTotal.objects.filter(kind="span").count()
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM llmchat_daytotal WHERE {which}")
    assert all_figures(30) == expected

    make_conversation(User.objects.create_user("bob"), ago=days_ago(20), **FIGURES)
    kept.keep()

    assert told()[0] == 31
    kept_figures = all_figures(30)
    assert DayTotal.objects.filter(kind="span").count() == spans + 1
    forget()
    assert kept_figures == all_figures(30)


@ON_POSTGRESQL
def test_the_totals_may_be_deleted_beside_a_step(other: Any) -> None:
    """What the step adds to a day that is deleted meanwhile belongs to no day."""
    ann = User.objects.create_user("ann")
    make_conversation(ann, ago=days_ago(9), **FIGURES)
    kept.keep()
    make_conversation(User.objects.create_user("bob"), ago=days_ago(9), **FIGURES)
    with other.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM llmchat_daytotal")
        # It deletes only what it sees now, not what the step or later ones write.
        cursor.execute("CREATE TEMPORARY TABLE seen AS SELECT id FROM llmchat_daytotal")
        day_sums.merge(kept.CHANGES_AT_ONCE)
        cursor.execute("DELETE FROM llmchat_daytotal WHERE id IN (SELECT id FROM seen)")
        other.commit()
    assert DayTotal.objects.filter(kind="user").exists()
    assert told()[0] == 2

    kept.keep()

    assert told() == (2, Decimal("0.5"), [(ann.pk, 1), (ann.pk + 1, 1)])
    assert DayTotal.objects.filter(kind="day").count() == kept.DAYS


@ON_POSTGRESQL
def test_emptying_the_table_of_messages_empties_the_totals(other: Any) -> None:
    ann = User.objects.create_user("ann")
    make_conversation(ann, ago=days_ago(9), **FIGURES)
    kept.keep()
    make_conversation(ann, ago=days_ago(9), **FIGURES)
    assert told()[0] == 2

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE llmchat_message")
    assert told() == (0, Decimal(0), [])
    make_conversation(ann, ago=days_ago(9), **FIGURES)
    assert told()[0] == 1
    kept.keep()
    assert told() == (1, Decimal("0.25"), [(ann.pk, 1)])


@ON_POSTGRESQL
def test_a_restore_of_the_data_alone_is_right_once_the_totals_are_emptied(
    ann: User,
) -> None:
    for ago in range(3):
        make_conversation(ann, ago=days_ago(ago), **FIGURES)
    kept.keep()
    make_conversation(ann, ago=days_ago(1), **FIGURES)
    expected = told()
    assert expected[0] == 4
    tables = [[*model.objects.all()] for model in (DayTotal, DayChange, Message)]
    Message.objects.all().delete()
    forget()

    for rows in tables:
        type(rows[0])._default_manager.bulk_create(rows)
    assert told()[0] == 8  # the triggers have noted each answer again
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE llmchat_daytotal")

    assert told() == expected
    kept.keep()
    assert told() == expected


@ON_POSTGRESQL
@pytest.mark.parametrize("wrong", [-40, -3, 3, 40, 400])
def test_a_clock_that_was_wrong_for_a_moment_changes_no_figure(
    ann: User, wrong: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ago in range(kept.DAYS):
        make_conversation(ann, ago=days_ago(ago), **FIGURES)
    expected = [all_figures(days) for days in usage.RANGES]
    kept.keep()
    real = today()
    with monkeypatch.context() as patched:
        patched.setattr(kept, "today", lambda: real + days_ago(-wrong))
        kept.keep()
    assert [all_figures(days) for days in usage.RANGES] == expected

    kept.keep()
    make_conversation(ann, ago=days_ago(70), **FIGURES)
    kept.keep()

    figures = [all_figures(days) for days in usage.RANGES]
    assert DayTotal.objects.filter(kind="span", user_id=None).count() >= 8
    forget()
    assert figures == [all_figures(days) for days in usage.RANGES]


@ON_POSTGRESQL
def test_an_upgrade_adds_the_days_up(ann: User) -> None:
    kept.on_migrate(plan=[])
    kept.on_migrate(plan=[("0038", True)])
    assert not DayTotal.objects.exists()
    kept.on_migrate(plan=[("0038", False)])
    assert DayTotal.objects.filter(kind="day").count() == kept.DAYS


def test_as_many_days_are_kept_as_are_told_of() -> None:
    assert max(usage.RANGES) == kept.DAYS
