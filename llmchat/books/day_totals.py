"""The totals of days, kept in the background: see `models/day_totals.py`.

Whoever writes an answer waits for none of this, and neither do readers: each step is a
statement of its own, that sees the same moment in all its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.apps import apps as installed
from django.core.exceptions import FieldDoesNotExist
from django.db import connection, transaction

from llmchat.models import DayTotal, Message
from llmchat.models.budgets import today
from llmchat.models.day_totals import (
    ADDED_UP,
    COUNTED,
    FIGURES,
    SPAN,
    SUMMED,
    span_of,
)

# As far back as reports go.
DAYS = 90
# So many days, or changes, go into one step, which is done well within a deadline.
_DAYS_AT_ONCE = 3
CHANGES_AT_ONCE = 20_000
# Of the steps one process at a time takes any; the number means nothing.
LOCK = 7_301_844_219
_ONE_DAY = timedelta(days=1)
_PLACE = "provider, model, state, finish_reason"
_INSERT = f"INSERT INTO llmchat_daytotal (kind, day, user_id, {_PLACE}, {FIGURES})"
_MORE = ", ".join(
    f"{name} = llmchat_daytotal.{name} + excluded.{name}"
    for name in FIGURES.split(", ")
)


def _add_to_spans(source: str) -> str:
    return f"""
        {_INSERT} SELECT 'span', {SPAN}, user_id, '', '', '', '', {SUMMED}
        FROM {source} WHERE user_id IS NOT NULL GROUP BY {SPAN}, user_id
        ON CONFLICT (day, user_id) WHERE kind = 'span' DO UPDATE SET {_MORE}"""


_MERGE = f"""
    WITH gone AS (
        DELETE FROM llmchat_daychange WHERE id IN (
            SELECT id FROM llmchat_daychange ORDER BY id LIMIT %s
        ) RETURNING *
    ), known AS (
        SELECT * FROM gone WHERE EXISTS (
            SELECT FROM llmchat_daytotal
            WHERE kind = 'day' AND llmchat_daytotal.day = gone.day
        )
    ), of_models AS (
        {_INSERT} SELECT 'model', day, NULL, {_PLACE}, {SUMMED} FROM known
        GROUP BY day, {_PLACE}
        ON CONFLICT (day, {_PLACE}) WHERE kind = 'model' DO UPDATE SET {_MORE}
    ), of_users AS (
        {_INSERT} SELECT 'user', day, user_id, '', '', '', '', {SUMMED} FROM known
        GROUP BY day, user_id
        ON CONFLICT (day, user_id) WHERE kind = 'user' DO UPDATE SET {_MORE}
    ), of_spans AS ({_add_to_spans("known")})
    SELECT count(*) FROM gone"""
_DATE = "(created_at AT TIME ZONE 'UTC')::date"
# What was noted until now is in the answers that are counted now.
_COUNT = f"""
    WITH gone AS (DELETE FROM llmchat_daychange WHERE day = ANY(%(days)s)), counted AS (
        SELECT day, user_id, {_PLACE}, {ADDED_UP} FROM (
            SELECT {_DATE} AS day, * FROM llmchat_message
            WHERE {COUNTED} AND created_at >= %(since)s AND created_at < %(until)s
        ) answers WHERE day = ANY(%(days)s)
        GROUP BY GROUPING SETS ((day, {_PLACE}), (day, user_id))
    ), of_spans AS ({_add_to_spans("counted")})
    {_INSERT}
    SELECT CASE WHEN user_id IS NULL THEN 'model' ELSE 'user' END, day, user_id,
        coalesce(provider, ''), coalesce(model, ''), coalesce(state, ''),
        coalesce(finish_reason, ''), {FIGURES}
    FROM counted
    UNION ALL SELECT 'day', day, NULL, '', '', '', '', 0, 0, 0, 0, 0, 0
    FROM unnest(%(days)s) AS days(day)"""


def keep_some() -> bool:
    """Take one step; return whether there are more to take.

    It adds what has changed to the totals of its days, and if that is done, adds up
    days that are not yet, the latest first. Old days are forgotten.
    """
    if connection.vendor != "postgresql":
        return False
    with transaction.atomic():
        if not _is_alone():
            return False
        if _merge() == CHANGES_AT_ONCE:
            return True
        first = today() - (DAYS - 1) * _ONE_DAY
        known = _known()
        # A report that has begun yesterday may be at it. Spans are forgotten whole: a
        # clock that is wrong for a moment must not leave one with a part of its days.
        forgotten = span_of(first - _ONE_DAY)
        if any(day < forgotten for day in known):
            DayTotal.objects.filter(day__lt=forgotten).delete()
        every = [today() - ago * _ONE_DAY for ago in range(DAYS)]
        missing = [day for day in every if day not in known]
        oldest = _oldest() if missing else None
        used = [day for day in missing if oldest and day >= oldest]
        # Those before the first answer take no time.
        for days in (missing[len(used) :], used[:_DAYS_AT_ONCE]):
            if days:
                _add_up(days)
        return len(used) > _DAYS_AT_ONCE


def keep() -> None:
    """Take all steps that there are now."""
    while keep_some():
        pass


def on_migrate(
    plan: Sequence[tuple[Any, bool]] = (), apps: Any = installed, **kwargs: Any
) -> None:
    """Called by Django behind migrations: an upgrade adds the days up itself."""
    try:
        apps.get_model("llmchat", "DayTotal")._meta.get_field("to_price")
    except (LookupError, FieldDoesNotExist):  # migrated to before it was there
        return
    if plan and not any(is_backwards for _, is_backwards in plan):
        keep()


def _is_alone() -> bool:
    """Return whether no other process takes a step; none does until this one's end."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


def _known() -> set[date]:
    rows = DayTotal.objects.filter(kind=DayTotal.Kind.DAY)
    return set(rows.values_list("day", flat=True))


def _oldest() -> date | None:
    moments = Message.objects.order_by("created_at").values_list(
        "created_at", flat=True
    )
    first = moments.first()
    return first.astimezone(UTC).date() if first else None


def _merge() -> int:
    with connection.cursor() as cursor:
        cursor.execute(_MERGE, [CHANGES_AT_ONCE])
        return int(cursor.fetchone()[0])


def _add_up(days: Sequence[date]) -> None:
    since, until = (
        datetime.combine(day, time.min, UTC)
        for day in (min(days), max(days) + _ONE_DAY)
    )
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"days": list(days), "since": since, "until": until})
