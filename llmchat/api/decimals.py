"""Exact decimal numbers, which are strings in JSON."""

from __future__ import annotations

from decimal import Decimal


def plain(number: Decimal) -> str:
    """Return the digits of a number, without an exponent or trailing zeros."""
    return f"{number.normalize():f}"
