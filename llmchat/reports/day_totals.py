"""Sums over answers: by day, provider, model and how they ended, and by user.

PostgreSQL keeps the totals of days, and notes of what has changed since
(`models/day_totals.py`); both are read together. Days that have not been added up yet,
and on SQLite all days, are read from the answers themselves. Either way the figures are
those of the answers that are stored now, and no page waits while days are added up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from llmchat.models import DayTotal
from llmchat.models.day_totals import ADDED_UP, COUNTED, FIGURES, SPAN_DAYS, span_of

_ONE_DAY = timedelta(days=1)
_EXACT = Decimal("1e-10")
_SUMMED = (
    "sum(answers), sum(unpriced), sum(input_tokens), sum(output_tokens), sum(cost)"
)
_KINDS = {
    DayTotal.Kind.MODEL: "provider, model, state, finish_reason",
    DayTotal.Kind.USER: "user_id",
}


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over answers; `cost` is None if none of them has a known price."""

    answers: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    cost: Decimal | None


@dataclass(frozen=True, slots=True)
class Group:
    """The answers of a day that came from the same model and ended in the same way."""

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
        f"SELECT {columns}, {_SUMMED} FROM ({source}) counted GROUP BY {columns}"
        " HAVING sum(answers) > 0",
        parameters,
    )
    return [
        Group(_day(day), provider, model, state, reason, _sums(figures))
        for day, provider, model, state, reason, *figures in rows
    ]


def top_users(first: date, last: date, count: int) -> list[tuple[int, Sums]]:
    """Return the users whose answers of these days cost most, the top user first."""
    source, parameters = _source(DayTotal.Kind.USER, first, last)
    rows = _read(
        f"SELECT user_id, {_SUMMED} FROM ({source}) counted GROUP BY user_id"
        " HAVING sum(answers) > 0 ORDER BY sum(cost) DESC,"
        " sum(output_tokens) DESC, user_id LIMIT %s",
        [*parameters, count],
    )
    return [(ident, _sums(figures)) for ident, *figures in rows]


def to_price(first: date, last: date, count: int) -> list[tuple[str, str, int]]:
    """Return provider, model and number of the answers to be priced, the most first.

    Answers that have used no tokens, or whose usage is not known because their process
    died, have no known cost either, but a price would not change that.
    """
    source, parameters = _source(DayTotal.Kind.MODEL, first, last)
    rows = _read(
        f"SELECT provider, model, sum(to_price) FROM ({source}) counted"
        " GROUP BY provider, model HAVING sum(to_price) > 0"
        " ORDER BY sum(to_price) DESC, provider, model LIMIT %s",
        [*parameters, count],
    )
    return [(provider, model, int(answers)) for provider, model, answers in rows]


def by_end(
    first: date, last: date, filters: Mapping[str, str]
) -> list[tuple[str, str, int, int]] | None:
    """Return state, finish reason, number of answers, and how many are not priced.

    `filters` are for `provider` and `model`. Return None if a day is not added up yet.
    """
    known = _known(first, last)
    if len(known) <= (last - first).days:
        return None
    source, parameters = _source(DayTotal.Kind.MODEL, first, last, known)
    where = " AND ".join(["TRUE", *(f"{name} = %s" for name in filters)])
    return _read(
        "SELECT state, finish_reason, sum(answers)::bigint, sum(unpriced)::bigint"
        f" FROM ({source}) counted WHERE {where} GROUP BY state, finish_reason",
        [*parameters, *filters.values()],
    )


def _source(
    kind: DayTotal.Kind, first: date, last: date, known: list[date] | None = None
) -> tuple[str, list[Any]]:
    """Return a query for the totals of these days, and its parameters."""
    names = _KINDS[kind]
    known = _known(first, last) if known is None else known
    parts: list[str] = []
    parameters: list[Any] = []
    # Read in one query, since notes belong to the total that exists at the same moment.
    for kept, days in (*_kept(kind, known), ("", known)):
        if days:
            table = "llmchat_daytotal" if kept else "llmchat_daychange"
            parts.append(
                f"SELECT day, {names}, {FIGURES} FROM {table} WHERE day = ANY(%s)"
                + (f" AND kind = '{kept}'" if kept else "")
            )
            parameters.append(days)
    for since, until in _gaps(first, last, known):
        parts.append(
            f"SELECT {_date()} AS day, {names}, {ADDED_UP} FROM llmchat_message"
            f" WHERE {COUNTED} AND created_at >= %s AND created_at < %s"
            f" GROUP BY {_date()}, {names}"
        )
        parameters += [_begin(since), _begin(until)]
    return " UNION ALL ".join(parts), parameters


def _known(first: date, last: date) -> list[date]:
    """Return the days that have been added up."""
    if connection.vendor != "postgresql":
        return []
    days = DayTotal.objects.filter(
        kind=DayTotal.Kind.DAY, day__gte=first, day__lte=last
    )
    return list(days.order_by("day").values_list("day", flat=True))


def _kept(
    kind: DayTotal.Kind, known: Sequence[date]
) -> Iterator[tuple[DayTotal.Kind, list[date]]]:
    """Yield the days to read, by kind: whole spans if possible, then single days."""
    in_span = Counter(map(span_of, known)) if kind == DayTotal.Kind.USER else {}
    wanted = [day for day, count in in_span.items() if count == SPAN_DAYS]
    spans = DayTotal.objects.filter(kind=DayTotal.Kind.SPAN, user_id=None)
    whole = set(spans.filter(day__in=wanted).values_list("day", flat=True))
    yield DayTotal.Kind.SPAN, sorted(whole)
    yield kind, [day for day in known if span_of(day) not in whole]


def _gaps(
    first: date, last: date, known: Sequence[date]
) -> Iterator[tuple[date, date]]:
    """Yield each gap between the known days, as its first day and the day after it."""
    since = first
    for day in (*known, last + _ONE_DAY):
        if day > since:
            yield since, day
        since = day + _ONE_DAY


# --- Values ----------------------------------------------------------------------


def _read(query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _date() -> str:
    """Return the SQL for the day in UTC on which an answer began."""
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
    exact = None if answers == unpriced else Decimal(str(cost)).quantize(_EXACT)
    return Sums(answers, unpriced, tokens_in, tokens_out, exact)
