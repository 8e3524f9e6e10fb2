"""The usage of answers that have been deleted, with or without their users."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from llmchat.models import AnswerState, PastUse
from llmchat.reports.day_totals import Group, Sums


def note(count: int) -> str:
    """Return a note that `count` of some answers are no longer in any list."""
    if not count:
        return ""
    return f"{count:,} of these {'has' if count == 1 else 'have'} been deleted"


def groups(first: date, last: date) -> list[Group]:
    """Return the sums of each day, provider and model, from one day to another."""
    rows = PastUse.objects.filter(day__gte=first, day__lte=last)
    return [group for row in rows.order_by("pk") for group in _groups(row)]


def _groups(row: PastUse) -> Iterator[Group]:
    """Yield a group with all usage, and one for the number of failed answers."""
    used = Sums(
        answers=row.answers - row.failures,
        unpriced=row.unpriced,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cost=row.cost if row.cost or row.answers > row.unpriced else None,
    )
    place = (row.day, row.provider, row.model)
    yield Group(*place, AnswerState.COMPLETE, "stop", used, deleted=True)
    if row.failures:
        # The other group includes their tokens and their cost.
        failed = Sums(row.failures, 0, 0, 0, None)
        yield Group(*place, AnswerState.ERROR, "", failed, deleted=True)
