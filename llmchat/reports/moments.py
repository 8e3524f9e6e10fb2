"""How the admin writes a moment, everywhere alike."""

from __future__ import annotations

from datetime import datetime

from django.utils.formats import date_format
from django.utils.timezone import localtime


def moment(at: datetime | None) -> str:
    """Return a moment with its zone, as `config/formats` has it."""
    return "–" if at is None else date_format(localtime(at), "DATETIME_FORMAT")
