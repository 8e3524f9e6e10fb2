"""How the admin writes money, everywhere alike."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

_SMALLEST = Decimal("0.0001")
NOT_PRICED = "not priced"


def money(amount: Decimal | None) -> str:
    """Return US dollars, with four digits below one; None has no known price."""
    if amount is None:
        return NOT_PRICED
    if not amount:
        return "$0.00"
    sign, size = ("-", -amount) if amount < 0 else ("", amount)
    if size < _SMALLEST / 2:
        return f"{sign}<$0.0001"
    small = size.quantize(_SMALLEST, ROUND_HALF_UP)
    return f"{sign}${small}" if small < 1 else f"{sign}${size:,.2f}"
