"""Adding to the totals of days: changes, the answers of a day, and spans of days.

Each function is a transaction of its own. It locks nothing that a turn waits for, and
each of its statements is short: work that takes too long is done in parts.

A day or a span counts as added up only if the row that says so exists. Rows that were
left without it, for example by somebody who empties the table during a step, are
deleted before anything is added to them.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import OperationalError, connection, transaction

from llmchat import database
from llmchat.models import DayTotal
from llmchat.models.day_totals import (
    ADDED_UP,
    COUNTED,
    FIGURES,
    SPAN,
    SPAN_DAYS,
    SUMMED,
    span_of,
)

# Only one process at a time takes a step. LOCK TABLE takes no snapshot, so what a step
# sees is not older than its lock. The lock blocks no readers and no writers, and
# PostgreSQL's own vacuum gives way to it within a second. Older versions of this code
# lock the number instead.
_LOCK = "LOCK TABLE llmchat_daytotal IN SHARE UPDATE EXCLUSIVE MODE"
_LOCK_WAIT = "SET LOCAL lock_timeout = '2s'"
LOCK = 7_301_844_219
# How long one statement may take, and how long a whole step, which has as many
# statements as it needs.
_STATEMENT_MS = 4000
_STEP_S = 600.0
# One statement is always enough to add up the answers of this short a time.
_SHORTEST = timedelta(seconds=1)
_ONE_DAY = timedelta(days=1)
_CANCELLED, _LOCKED = "57014", "55P03"
_MODEL, _USER, _SPAN = DayTotal.Kind.MODEL, DayTotal.Kind.USER, DayTotal.Kind.SPAN
_PLACE = "provider, model, state, finish_reason"
_INSERT = f"INSERT INTO llmchat_daytotal (kind, day, user_id, {_PLACE}, {FIGURES})"
_MORE = ", ".join(
    f"{name} = llmchat_daytotal.{name} + excluded.{name}"
    for name in FIGURES.split(", ")
)
# A shorter timeout that an operator has set is kept.
_LIMIT = """
    SELECT set_config('statement_timeout', CASE WHEN setting::bigint BETWEEN 1 AND %s
        THEN setting ELSE %s::text END, true)
    FROM pg_settings WHERE name = 'statement_timeout'"""
# TRUNCATE of the messages then waits for the step, or the step for it. Otherwise each
# could come to hold what the other one wants.
_LOCK_ANSWERS = "LOCK TABLE llmchat_message IN ACCESS SHARE MODE"
_ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"


def _add(kind: DayTotal.Kind, source: str) -> str:
    """Return a statement that adds the rows of `source` to the totals of a kind."""
    day = SPAN if kind == _SPAN else "day"
    user, place, key = (
        ("NULL::bigint", _PLACE, _PLACE)
        if kind == _MODEL
        else ("user_id", "'', '', '', ''", "user_id")
    )
    return f"""
        {_INSERT} SELECT '{kind}', {day}, {user}, {place}, {SUMMED}
        FROM {source} GROUP BY {day}, {key}
        ON CONFLICT (day, {key}) WHERE kind = '{kind}' DO UPDATE SET {_MORE}"""


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
    ), in_spans AS (
        SELECT * FROM gone WHERE EXISTS (
            SELECT FROM llmchat_daytotal AS span
            WHERE kind = 'span' AND span.user_id IS NULL
            AND gone.day >= span.day AND gone.day < span.day + {SPAN_DAYS}
        )
    ), of_models AS ({_add(_MODEL, "known")}), of_users AS ({_add(_USER, "known")}),
    of_spans AS ({_add(_SPAN, "in_spans")})
    SELECT count(*) FROM gone"""
_DATE = "(created_at AT TIME ZONE 'UTC')::date"
_IS_KNOWN = """
    SELECT count(*) FROM llmchat_daytotal WHERE kind = 'day' AND day = ANY(%(days)s)"""
_CLEAR = """
    WITH models AS (
        DELETE FROM llmchat_daytotal WHERE kind = 'model' AND day = ANY(%(days)s)
    ), users AS (
        DELETE FROM llmchat_daytotal WHERE kind = 'user' AND day = ANY(%(days)s)
    )
    DELETE FROM llmchat_daytotal WHERE kind = 'span' AND day = ANY(%(spans)s)"""
# Changes noted so far are deleted, since the answers that are counted include them: all
# parts of one statement, or of one transaction, see the same moment.
_COUNT = f"""
    WITH gone AS (DELETE FROM llmchat_daychange WHERE day = ANY(%(days)s)), counted AS (
        SELECT day, user_id, {_PLACE}, {ADDED_UP} FROM (
            SELECT {_DATE} AS day, * FROM llmchat_message
            WHERE {COUNTED} AND created_at >= %(since)s AND created_at < %(until)s
        ) answers WHERE day = ANY(%(days)s) GROUP BY day, user_id, {_PLACE}
    ), of_models AS ({_add(_MODEL, "counted")})
    {_add(_USER, "counted")}"""
_MARK = f"""
    {_INSERT} SELECT 'day', day, NULL, '', '', '', '', 0, 0, 0, 0, 0, 0
    FROM unnest(%(days)s) AS days(day)"""
_WHOLE_SPANS = f"""
    SELECT {SPAN} FROM llmchat_daytotal WHERE kind = 'day'
    GROUP BY {SPAN} HAVING count(*) = {SPAN_DAYS}
    EXCEPT SELECT day FROM llmchat_daytotal WHERE kind = 'span' AND user_id IS NULL"""
_COUNT_SPAN = f"""
    WITH counted AS (
        SELECT * FROM llmchat_daytotal WHERE kind = 'user'
        AND day >= %(span)s AND day < %(span)s::date + {SPAN_DAYS}
    ), of_users AS ({_add(_SPAN, "counted")})
    {_INSERT} VALUES ('span', %(span)s, NULL, '', '', '', '', 0, 0, 0, 0, 0, 0)"""


class Busy(Exception):  # noqa: N818  # it is no error
    """Another process is taking a step, or this one must take no more."""


def merge(most: int) -> bool:
    """Add the oldest changes to the totals; return whether there are more.

    Raises: Busy.
    """
    try:
        with _step() as execute:
            return bool(execute(_MERGE, [most]) == most)
    except OperationalError as exc:
        if not _is_cancelled(exc) or most == 1:
            raise
    return merge(max(1, most // 10)) or True


_Execute = Callable[..., Any]


def count(days: Sequence[date], go_on: Callable[[], bool]) -> None:
    """Add up days that are not added up yet, or only the first if they take too long.

    The first day is then added up in as many parts as it needs, while `go_on` returns
    True.

    Raises: Busy.
    """
    try:
        with _counting(days) as execute:
            execute(_COUNT, _values(days))
            return
    except OperationalError as exc:
        if not _is_cancelled(exc):
            raise
    with _counting(days[:1], _ONE_MOMENT) as execute:
        _count_part(execute, _values(days[:1]), go_on)


def count_spans() -> None:
    """Add up the spans whose days are all added up.

    Raises: Busy.
    """
    with connection.cursor() as cursor:
        cursor.execute(_WHOLE_SPANS)
        spans = [day for (day,) in cursor.fetchall()]
    for span in spans:
        with _step() as execute:
            execute(_CLEAR, {"days": [], "spans": [span]})
            execute(_COUNT_SPAN, {"span": span})


@contextmanager
def _counting(days: Sequence[date], *first: str) -> Iterator[_Execute]:
    """Clear the totals of days, and mark the days as added up after the block."""
    with _step(*first) as execute:
        execute(_LOCK_ANSWERS)
        if execute(_IS_KNOWN, _values(days)):
            raise Busy
        execute(_CLEAR, {"days": list(days), "spans": [span_of(day) for day in days]})
        yield execute
        execute(_MARK, _values(days))


def _count_part(
    execute: _Execute, values: dict[str, Any], go_on: Callable[[], bool]
) -> None:
    """Add up the answers between two moments, by halves if need be."""
    if not go_on():
        raise Busy
    since, until = values["since"], values["until"]
    try:
        with transaction.atomic():
            execute(_COUNT, values)
    except OperationalError as exc:
        if not _is_cancelled(exc) or until - since <= _SHORTEST:
            raise
        middle = since + (until - since) / 2
        _count_part(execute, values | {"until": middle}, go_on)
        _count_part(execute, values | {"since": middle}, go_on)


@contextmanager
def _step(*first: str) -> Iterator[_Execute]:
    """Begin a transaction during which no other process takes a step.

    It runs the statements `first` before it looks at anything.

    Raises: Busy.
    """
    with _unlocked(), _limited(), transaction.atomic(), connection.cursor() as cursor:

        def execute(statement: str, parameters: Any = None) -> Any:
            cursor.execute(statement, parameters)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

        for statement in (*first, _LOCK_WAIT, _LOCK):
            execute(statement)
        execute(_LIMIT, [_STATEMENT_MS, _STATEMENT_MS])
        if not execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK]):
            raise Busy
        yield execute


@contextmanager
def _unlocked() -> Iterator[None]:
    """Raise Busy if a lock is not to be had because another process holds it."""
    try:
        yield
    except OperationalError as exc:
        if database.sqlstate(exc) != _LOCKED:
            raise
        raise Busy from exc


@contextmanager
def _limited() -> Iterator[None]:
    """Give a step its own deadline, if there is a deadline at all."""
    if database.deadline() is None:
        yield
    else:
        with database.until(clock.monotonic() + _STEP_S):
            yield


def _values(days: Sequence[date]) -> dict[str, Any]:
    since, until = (
        datetime.combine(day, time.min, UTC)
        for day in (min(days), max(days) + _ONE_DAY)
    )
    return {"days": list(days), "since": since, "until": until}


def _is_cancelled(exc: OperationalError) -> bool:
    """Return whether the server has ended a statement that took too long."""
    return database.sqlstate(exc) == _CANCELLED
