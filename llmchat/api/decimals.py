"""Numbers that are exact, as JSON carries them: in a string."""

from __future__ import annotations

from decimal import Decimal


def plain(number: Decimal) -> str:
    """Return a number without an exponent or zeros that say nothing."""
    return f"{number.normalize():f}"
