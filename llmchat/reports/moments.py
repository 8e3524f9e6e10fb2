"""How the admin writes a moment, the same everywhere."""

from __future__ import annotations

from datetime import datetime

from django.utils.formats import date_format
from django.utils.timezone import localtime


def moment(at: datetime | None) -> str:
    """Return a moment with its time zone, in the format of `config/formats`."""
    return "–" if at is None else date_format(localtime(at), "DATETIME_FORMAT")
