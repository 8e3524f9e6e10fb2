"""The totals of days, kept in the background: see `models/day_totals.py`.

Neither the writers of answers nor readers wait for this: each step is a transaction of
its own, all parts of which see the same moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, timedelta
from typing import Any

from django.apps import apps as installed
from django.core.exceptions import FieldDoesNotExist
from django.db import connection

from llmchat.books import day_sums
from llmchat.models import DayTotal, Message
from llmchat.models.budgets import today
from llmchat.models.day_totals import span_of

# As far back as reports go.
DAYS = 90
# How many days, and changes, go into one step, unless they take too long.
_DAYS_AT_ONCE = 3
CHANGES_AT_ONCE = 20_000
_ONE_DAY = timedelta(days=1)


def keep_some(go_on: Callable[[], bool] = lambda: True) -> bool:
    """Take one step; return whether there are more to take.

    A step adds changes to the totals of their days. When no changes are left, it adds
    up days that are not added up yet, the latest first, and deletes old days. A long
    step ends early, and is undone, when `go_on` returns False.
    """
    if connection.vendor != "postgresql":
        return False
    try:
        return day_sums.merge(CHANGES_AT_ONCE) or _add_up_days(go_on)
    except day_sums.Busy:
        return False


def keep() -> None:
    """Take steps until none are left."""
    while keep_some():
        pass


def _add_up_days(go_on: Callable[[], bool]) -> bool:
    first = today() - (DAYS - 1) * _ONE_DAY
    known = _known()
    # A report that began yesterday may still read its first day. Spans are deleted
    # whole: a clock that is wrong for a moment must not leave one with only some of its
    # days.
    forgotten = span_of(first - _ONE_DAY)
    if any(day < forgotten for day in known):
        DayTotal.objects.filter(day__lt=forgotten).delete()
    every = [today() - ago * _ONE_DAY for ago in range(DAYS)]
    missing = [day for day in every if day not in known]
    oldest = _oldest() if missing else None
    used = [day for day in missing if oldest and day >= oldest]
    # Days before the first answer take no time.
    for days in (missing[len(used) :], used[:_DAYS_AT_ONCE]):
        if days:
            day_sums.count(days, go_on)
    if missing:  # if they took too long, only the first of them is added up
        return True
    day_sums.count_spans()
    return False


def on_migrate(
    plan: Sequence[tuple[Any, bool]] = (), apps: Any = installed, **kwargs: Any
) -> None:
    """Called by Django after migrations: an upgrade adds the days up itself."""
    try:
        apps.get_model("llmchat", "DayTotal")._meta.get_field("to_price")
    except (LookupError, FieldDoesNotExist):  # migrated to a state without it
        return
    if plan and not any(is_backwards for _, is_backwards in plan):
        keep()


def _known() -> set[date]:
    rows = DayTotal.objects.filter(kind=DayTotal.Kind.DAY)
    return set(rows.values_list("day", flat=True))


def _oldest() -> date | None:
    moments = Message.objects.order_by("created_at").values_list(
        "created_at", flat=True
    )
    first = moments.first()
    return first.astimezone(UTC).date() if first else None
