"""Hours of the day and days of the year, as operators write them."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_DAY_MINUTES = 24 * 60
_MAX_DAYS = 400


@lru_cache(256)
def spans(text: str) -> tuple[tuple[int, int], ...]:
    """Return hours such as `01:00-04:00 06:00-10:00` as minutes of the day.

    Each span includes its first minute and excludes its last one.

    Raises: ValueError.
    """
    found = []
    for word in text.replace(",", " ").split():
        match = _SPAN.fullmatch(word)
        if match is None:
            raise ValueError(word)
        hour, minute, end_hour, end_minute = map(int, match.groups())
        begin, end = 60 * hour + minute, 60 * end_hour + end_minute
        if not begin < end <= _DAY_MINUTES:
            raise ValueError(word)
        found.append((begin, end))
    return tuple(found)


@lru_cache(256)
def days(text: str) -> frozenset[date]:
    """Return days such as `2026-10-01 2026-10-02`.

    Raises: ValueError.
    """
    words = text.replace(",", " ").split()
    if len(words) > _MAX_DAYS:
        raise ValueError("too many")
    return frozenset(date.fromisoformat(word) for word in words)


def check_hours(text: str) -> None:
    """Refuse a text that does not list hours. Raises: ValidationError."""
    try:
        spans(text)
    except ValueError as exc:
        raise ValidationError(
            _("Enter hours such as 01:00-04:00 06:00-10:00.")
        ) from exc


def check_days(text: str) -> None:
    """Refuse a text that does not list days. Raises: ValidationError."""
    try:
        days(text)
    except ValueError as exc:
        raise ValidationError(_("Enter days such as 2026-10-01.")) from exc
