"""Usage of the last days: tokens, cost, times, failures.

A few aggregates over the index `message_usage`, which read no text. The result is
cached for a minute, so a busy front page does not load the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, TruncDate
from django.utils import timezone

from llmchat.models import Message
from llmchat.reports import past

DAYS = 30
_KEPT_S = 60
_CACHE_KEY = "llmchat:usage:2"
_USERS = 10
_MODELS = 20
# Times are measured over this many of the latest answers.
_SAMPLE = 5000
_State = Message.State
_FAILED = (_State.ERROR, _State.INTERRUPTED)


@dataclass(frozen=True, slots=True)
class Total:
    """Sums over the answers of one provider, model or user."""

    name: str
    answers: int
    failures: int
    input_tokens: int
    output_tokens: int
    cost: Decimal

    @property
    def tokens(self) -> int:
        """Return input and output tokens together."""
        return self.input_tokens + self.output_tokens

    @property
    def error_rate(self) -> float:
        """Return the percentage of failed answers."""
        return 100 * self.failures / self.answers if self.answers else 0.0


@dataclass(frozen=True, slots=True)
class Times:
    """Percentiles in milliseconds, None where nothing was measured."""

    name: str
    first_token_p50: int | None
    first_token_p95: int | None
    duration_p50: int | None
    duration_p95: int | None


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The usage of the last `DAYS` days.

    `by_day` holds, for each day, the totals of each provider. All but `by_user` and
    `times` include what was deleted since.
    """

    total: Total
    days: tuple[date, ...]
    by_day: dict[date, dict[str, Total]]
    by_provider: tuple[Total, ...]
    by_model: tuple[Total, ...]
    by_user: tuple[Total, ...]
    times: tuple[Times, ...]


def recent() -> UsageReport:
    """Return the usage of the last days, at most a minute old."""
    usage: UsageReport | None = cache.get(_CACHE_KEY)
    if usage is None:
        usage = measure()
        cache.set(_CACHE_KEY, usage, _KEPT_S)
    return usage


def measure() -> UsageReport:
    """Measure the usage of the last days."""
    today = timezone.now().date()
    days = tuple(today - timedelta(days=ago) for ago in reversed(range(DAYS)))
    answers = _ended(days[0])
    by_day: dict[date, dict[str, Total]] = {day: {} for day in days}
    dated = answers.annotate(day=TruncDate("created_at"))
    deleted = past.rows(days[0])
    for row in [*_sums(dated, "day", "provider"), *deleted]:
        totals, total = by_day.setdefault(row["day"], {}), _total(row, "provider")
        known = totals.get(total.name)
        totals[total.name] = _sum(total.name, [known, total]) if known else total
    by_provider = _merged(
        total for totals in by_day.values() for total in totals.values()
    )
    return UsageReport(
        total=_sum("", by_provider),
        days=days,
        by_day=by_day,
        by_provider=by_provider,
        by_model=_merged(
            [
                *_top(answers, "model", _MODELS),
                *(_total(row, "model") for row in deleted),
            ]
        )[:_MODELS],
        by_user=_top(answers, "user__username", _USERS),
        times=_times(answers),
    )


def _ended(since: date) -> QuerySet[Message]:
    """Return the ended answers, without those that came with a history."""
    moment = datetime.combine(
        since, datetime.min.time(), timezone.get_default_timezone()
    )
    return (
        Message.objects.filter(role=Message.Role.ASSISTANT, created_at__gte=moment)
        .exclude(provider="")
        .exclude(state=_State.STREAMING)
        .order_by()
    )


def _sums(answers: QuerySet[Any], *by: str) -> QuerySet[Any, dict[str, Any]]:
    rows: QuerySet[Any, dict[str, Any]] = answers.values(*by)
    sums: QuerySet[Any, dict[str, Any]] = rows.annotate(
        answers=Count("pk"),
        failures=Count("pk", filter=Q(state__in=_FAILED)),
        tokens_in=Coalesce(Sum("input_tokens"), 0),
        tokens_out=Coalesce(Sum("output_tokens"), 0),
        dollars=Sum("cost"),
    )
    return sums


def _top(answers: QuerySet[Any], by: str, count: int) -> tuple[Total, ...]:
    rows = _sums(answers, by).order_by("-tokens_out")[:count]
    return tuple(_total(row, by) for row in rows)


def _total(row: dict[str, Any], by: str) -> Total:
    return Total(
        name=row[by],
        answers=row["answers"],
        failures=row["failures"],
        input_tokens=row["tokens_in"],
        output_tokens=row["tokens_out"],
        cost=row["dollars"] or Decimal(0),
    )


def _merged(totals: Iterable[Total]) -> tuple[Total, ...]:
    """Add up the totals of the same name, the most used first."""
    named: dict[str, list[Total]] = {}
    for total in totals:
        named.setdefault(total.name, []).append(total)
    sums = [_sum(name, parts) for name, parts in named.items()]
    return tuple(sorted(sums, key=lambda total: -total.tokens))


def _sum(name: str, parts: Sequence[Total]) -> Total:
    return Total(
        name=name,
        answers=sum(part.answers for part in parts),
        failures=sum(part.failures for part in parts),
        input_tokens=sum(part.input_tokens for part in parts),
        output_tokens=sum(part.output_tokens for part in parts),
        cost=sum((part.cost for part in parts), Decimal(0)),
    )


def _times(answers: QuerySet[Message]) -> tuple[Times, ...]:
    """Return the percentiles of each provider, over the latest complete answers."""
    rows = answers.filter(state=_State.COMPLETE).order_by("-created_at")
    sample: dict[str, tuple[list[int], list[int]]] = {}
    fields = ("provider", "created_at", "first_token_at", "finished_at")
    for provider, created, first, finished in rows.values_list(*fields)[:_SAMPLE]:
        firsts, wholes = sample.setdefault(provider, ([], []))
        if first is not None:
            firsts.append(_ms(first - created))
        if finished is not None:
            wholes.append(_ms(finished - created))
    return tuple(
        Times(
            name,
            percentile(firsts, 50),
            percentile(firsts, 95),
            percentile(wholes, 50),
            percentile(wholes, 95),
        )
        for name, (firsts, wholes) in sorted(sample.items())
    )


def _ms(span: timedelta) -> int:
    return round(span.total_seconds() * 1000)


def percentile(values: Sequence[int], percent: int) -> int | None:
    """Return the smallest of `values` that `percent` of them do not exceed."""
    if not values:
        return None
    rank = -(-len(values) * percent // 100)
    return sorted(values)[max(0, rank - 1)]
