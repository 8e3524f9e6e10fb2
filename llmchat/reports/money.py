"""How the admin writes money, and why a cost is missing, the same everywhere.

Three terms say why a cost is missing. An answer is *not priced* if its model has no
price. Its *cost is not known* if what it has used is not known, because its process
died. Both together are *without a known cost*. A running answer has no cost at all.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Protocol

_SMALLEST = Decimal("0.0001")
NOT_PRICED = "not priced"
NOT_KNOWN = "cost not known"


class Used(Protocol):
    """What an answer, or the answers of a sum, have used and cost."""

    @property
    def input_tokens(self) -> int | None:
        """The tokens of the prompts."""

    @property
    def output_tokens(self) -> int | None:
        """The tokens of the answers."""

    @property
    def cost(self) -> Decimal | None:
        """US dollars, None if no cost is known."""


def cost_of(row: Used) -> str:
    """Return what ended answers have cost, or why that is not known."""
    return cost_in_words(row.cost, row)


def cost_in_words(amount: Decimal | None, row: Used) -> str:
    """Return the same for an amount that is not the row's own `cost`."""
    if amount is not None:
        return money(amount)
    return NOT_PRICED if row.input_tokens or row.output_tokens else NOT_KNOWN


def without_cost(count: int) -> str:
    """Return how many answers are missing from a sum."""
    answers = "answer" if count == 1 else "answers"
    return f"{count:,} {answers} without a known cost"


def money(amount: Decimal) -> str:
    """Return US dollars, with four decimal places below one dollar."""
    if not amount:
        return "$0.00"
    sign, size = ("-", -amount) if amount < 0 else ("", amount)
    if size < _SMALLEST / 2:
        return f"{sign}<$0.0001"
    small = size.quantize(_SMALLEST, ROUND_HALF_UP)
    return f"{sign}${small}" if small < 1 else f"{sign}${size:,.2f}"
