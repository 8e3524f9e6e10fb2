"""How long answers take: the median and the 95th percentile, by provider."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from llmchat.models import Message
from llmchat.reports.outcomes import ended

# Times are measured over at most this many of the latest answers.
SAMPLE = 5000
_PERCENTILES = ", ".join(
    f"percentile_disc({share}) WITHIN GROUP (ORDER BY round(extract(epoch FROM"
    f" {moment} - created_at) * 1000))"
    for moment in ("first_token_at", "finished_at")
    for share in (0.5, 0.95)
)


@dataclass(frozen=True, slots=True)
class Times:
    """A provider's percentiles in milliseconds, None if nothing was measured."""

    name: str
    first_token_p50: int | None
    first_token_p95: int | None
    duration_p50: int | None
    duration_p95: int | None


def times(since: datetime, until: datetime) -> tuple[Times, ...]:
    """Return the percentiles of each provider, over the latest complete answers."""
    rows = ended(Message.objects.filter(created_at__gte=since, created_at__lt=until))
    complete = rows.filter(state=Message.State.COMPLETE).order_by("-created_at")
    fields = ("provider", "created_at", "first_token_at", "finished_at")
    latest = complete.values_list(*fields)[:SAMPLE]
    if connection.vendor != "postgresql":
        return tuple(_measured(list(latest)))
    query, parameters = latest.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT provider, {_PERCENTILES} FROM ({query}) latest"
            " GROUP BY provider ORDER BY provider",
            parameters,
        )
        return tuple(
            Times(name, *(None if ms is None else int(ms) for ms in percentiles))
            for name, *percentiles in cursor.fetchall()
        )


_Moments = tuple[str, datetime, datetime | None, datetime | None]


def _measured(rows: Sequence[_Moments]) -> Iterator[Times]:
    sample: dict[str, tuple[list[int], list[int]]] = {}
    for provider, created, first, finished in rows:
        firsts, wholes = sample.setdefault(provider, ([], []))
        if first is not None:
            firsts.append(_ms(first - created))
        if finished is not None:
            wholes.append(_ms(finished - created))
    for name, measured in sorted(sample.items()):
        yield Times(name, *(percentile(ms, p) for ms in measured for p in (50, 95)))


def _ms(span: timedelta) -> int:
    return round(span.total_seconds() * 1000)


def percentile(values: Sequence[int], percent: int) -> int | None:
    """Return the smallest of `values` that `percent` of them do not exceed."""
    if not values:
        return None
    rank = -(-len(values) * percent // 100)
    return sorted(values)[max(0, rank - 1)]
