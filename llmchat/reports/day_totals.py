"""Answers added up: by day, provider, model and end, and by the users they were for.

PostgreSQL keeps the totals of whole days: those before yesterday, whose answers have
ended. What is missing, or has changed since, is added up when it is first asked for.
The days from then on, and on SQLite all of them, are read from the answers themselves.
Either way the figures are those of the answers that are stored now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db import OperationalError, connection, transaction

from llmchat.models import DayChange, DayTotal

# Today's and yesterday's answers may still be written.
_OPEN = timedelta(days=1)
# So many days are added up in one transaction: a time-out undoes little.
_AT_ONCE = 10
_ONE_DAY = timedelta(days=1)
_KINDS = {
    DayTotal.Kind.MODEL: "provider, model, state, finish_reason",
    DayTotal.Kind.USER: "user_id",
}
_ANSWERS = (
    "role = 'assistant' AND provider <> '' AND state <> 'streaming'"
    " AND created_at >= %s AND created_at < %s"
)
_COUNTED = (
    "count(*) AS answers,"
    " sum(CASE WHEN cost IS NULL THEN 1 ELSE 0 END) AS unpriced,"
    " coalesce(sum(input_tokens), 0) AS input_tokens,"
    " coalesce(sum(output_tokens), 0) AS output_tokens, sum(cost) AS cost"
)
_FIGURES = "answers, unpriced, input_tokens, output_tokens, cost"
_SUMMED = (
    "sum(answers), sum(unpriced), sum(input_tokens), sum(output_tokens), sum(cost)"
)


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over answers; `cost` is None where none of them has a known price."""

    answers: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    cost: Decimal | None


@dataclass(frozen=True, slots=True)
class Group:
    """The answers of a day that came from one model and ended alike."""

    day: date
    provider: str
    model: str
    state: str
    finish_reason: str
    sums: Sums
    deleted: bool = False


def by_model(first: date, last: date) -> list[Group]:
    """Return what the answers of these days add up to, a row for each group."""
    kind = DayTotal.Kind.MODEL
    source, parameters = _source(kind, first, last)
    columns = f"day, {_KINDS[kind]}"
    rows = _read(
        f"SELECT {columns}, {_SUMMED} FROM ({source}) counted GROUP BY {columns}",
        parameters,
    )
    return [
        Group(_day(day), provider, model, state, reason, _sums(figures))
        for day, provider, model, state, reason, *figures in rows
    ]


def top_users(first: date, last: date, count: int) -> list[tuple[int, Sums]]:
    """Return the users whose answers of these days have cost most, the first first."""
    source, parameters = _source(DayTotal.Kind.USER, first, last)
    # The rest is added up of those few alone.
    dearest = [
        row[0]
        for row in _read(
            f"SELECT user_id FROM ({source}) counted GROUP BY user_id ORDER BY"
            " coalesce(sum(cost), 0) DESC, sum(output_tokens) DESC, user_id LIMIT %s",
            [*parameters, count],
        )
    ]
    if not dearest:
        return []
    rows = _read(
        f"SELECT user_id, {_SUMMED} FROM ({source}) counted"
        f" WHERE user_id IN ({', '.join(['%s'] * len(dearest))}) GROUP BY user_id",
        [*parameters, *dearest],
    )
    sums = {row[0]: _sums(row[1:]) for row in rows}
    return [(ident, sums[ident]) for ident in dearest if ident in sums]


def _source(kind: DayTotal.Kind, first: date, last: date) -> tuple[str, list[Any]]:
    """Return a query for the totals of each of these days, and its parameters."""
    names = _KINDS[kind]
    kept_until = _kept_until(first, last)
    answers = (
        f"SELECT {_date()} AS day, {names}, {_COUNTED} FROM llmchat_message"
        f" WHERE {_ANSWERS} GROUP BY {_date()}, {names}"
    )
    parameters = [_begin(kept_until), _begin(last + _ONE_DAY)]
    if kept_until <= first:
        return answers, parameters
    kept = (
        f"SELECT day, {names}, {_FIGURES} FROM llmchat_daytotal"
        " WHERE kind = %s AND day >= %s AND day < %s"
    )
    return (
        f"{kept} UNION ALL {answers}",
        [str(kind), first, kept_until, *parameters],
    )


# --- The days that are kept ------------------------------------------------------


def _kept_until(first: date, last: date) -> date:
    """Return the first day whose total is not kept, after adding up what is missing."""
    if connection.vendor != "postgresql":
        return first
    end = min(last + _ONE_DAY, datetime.now(UTC).date() - _OPEN)
    missing = _missing(first, end)
    for at in range(0, len(missing), _AT_ONCE):
        if not _add_up(missing[at : at + _AT_ONCE]):
            return missing[at]
    return max(first, end)


def _missing(first: date, end: date) -> list[date]:
    """Return the days before `end` that are not added up, or have changed since."""
    rows = DayTotal.objects.filter(kind=DayTotal.Kind.DAY, day__gte=first, day__lt=end)
    known = set(rows.values_list("day", flat=True))
    changes = DayChange.objects.filter(day__gte=first, day__lt=end)
    known -= set(changes.values_list("day", flat=True))
    days = (first + timedelta(days=ago) for ago in range((end - first).days))
    return [day for day in days if day not in known]


def _add_up(days: Sequence[date]) -> bool:
    """Keep the totals of some days; return False while somebody changes old ones.

    Whoever changes one waits until they are kept, and notes the day behind it.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "LOCK TABLE llmchat_daychange IN SHARE ROW EXCLUSIVE MODE NOWAIT"
            )
            DayChange.objects.filter(day__in=days).delete()
            DayTotal.objects.filter(day__in=days).delete()
            span = [_begin(days[0]), _begin(days[-1] + _ONE_DAY)]
            for kind, names in _KINDS.items():
                cursor.execute(
                    f"INSERT INTO llmchat_daytotal (kind, day, {_others(names)}"
                    f" {names}, {_FIGURES}) SELECT %s, {_date()},"
                    f" {_blanks(names)} {names}, {_COUNTED} FROM llmchat_message"
                    f" WHERE {_ANSWERS} AND {_date()} = ANY(%s)"
                    f" GROUP BY {_date()}, {names}",
                    [str(kind), *span, list(days)],
                )
            DayTotal.objects.bulk_create(_markers(days))
    except OperationalError as exc:
        if getattr(exc.__cause__, "sqlstate", None) != "55P03":  # locked
            raise
        return False
    return True


_TEXTS = ("provider", "model", "state", "finish_reason")


def _others(names: str) -> str:
    return "" if names != "user_id" else ", ".join(_TEXTS) + ","


def _blanks(names: str) -> str:
    return "" if names != "user_id" else ", ".join("''" for _ in _TEXTS) + ","


def _markers(days: Sequence[date]) -> list[DayTotal]:
    kind = DayTotal.Kind.DAY
    nothing = {"answers": 0, "unpriced": 0, "input_tokens": 0, "output_tokens": 0}
    return [DayTotal(kind=kind, day=day, **nothing) for day in days]


# --- Values ----------------------------------------------------------------------


def _read(query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _date() -> str:
    """Return the day in UTC that an answer began on."""
    if connection.vendor == "postgresql":
        return "(created_at AT TIME ZONE 'UTC')::date"
    return "date(created_at)"


def _begin(day: date) -> Any:
    moment = datetime.combine(day, time.min, UTC)
    return connection.ops.adapt_datetimefield_value(moment)


def _day(value: Any) -> date:
    return value if isinstance(value, date) else date.fromisoformat(value)


def _sums(row: Sequence[Any]) -> Sums:
    *counts, cost = row
    answers, unpriced, tokens_in, tokens_out = map(int, counts)
    # SQLite adds up floating-point numbers.
    exact = None if cost is None else Decimal(str(cost)).quantize(Decimal("1e-10"))
    return Sums(answers, unpriced, tokens_in, tokens_out, exact)
