"""What was used by answers that were deleted since, with their users or without."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

from llmchat.models import AnswerState, PastUse
from llmchat.reports.day_totals import Group, Sums


def groups(first: date, last: date) -> list[Group]:
    """Return the sums of each day, provider and model, from one day to another."""
    rows = PastUse.objects.filter(day__gte=first, day__lte=last)
    return [group for row in rows.order_by("pk") for group in _groups(row)]


def _groups(row: PastUse) -> Iterator[Group]:
    """Yield what was used, and how many answers have failed."""
    used = Sums(
        answers=row.answers - row.failures,
        unpriced=0,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cost=row.cost,
    )
    place = (row.day, row.provider, row.model)
    yield Group(*place, AnswerState.COMPLETE, "stop", used)
    if row.failures:
        failed = Sums(row.failures, 0, 0, 0, Decimal(0))
        yield Group(*place, AnswerState.ERROR, "", failed)
