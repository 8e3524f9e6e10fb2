"""How the admin writes money, and that a cost is missing, everywhere alike.

Three words say why one is missing. An answer is *not priced* where its model has no
price. Its *cost is not known* where nobody knows what it has used, since its process
died. Both together are *without a known cost*. What has not ended has no cost at all.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Protocol

_SMALLEST = Decimal("0.0001")
NOT_PRICED = "not priced"
NOT_KNOWN = "cost not known"


class Used(Protocol):
    """An answer, or a sum over answers: what they have used and cost."""

    @property
    def input_tokens(self) -> int | None:
        """The tokens of the prompts."""

    @property
    def output_tokens(self) -> int | None:
        """The tokens of the answers."""

    @property
    def cost(self) -> Decimal | None:
        """US dollars, None where no cost is known."""


def cost_of(row: Used) -> str:
    """Return what answers that have ended have cost, or why that is not known."""
    return cost_in_words(row.cost, row)


def cost_in_words(amount: Decimal | None, row: Used) -> str:
    """Return the same where the amount is not the row's own."""
    if amount is not None:
        return money(amount)
    return NOT_PRICED if row.input_tokens or row.output_tokens else NOT_KNOWN


def without_cost(count: int) -> str:
    """Return how many answers are missing in a sum."""
    answers = "answer" if count == 1 else "answers"
    return f"{count:,} {answers} without a known cost"


def money(amount: Decimal) -> str:
    """Return US dollars, with four digits below one."""
    if not amount:
        return "$0.00"
    sign, size = ("-", -amount) if amount < 0 else ("", amount)
    if size < _SMALLEST / 2:
        return f"{sign}<$0.0001"
    small = size.quantize(_SMALLEST, ROUND_HALF_UP)
    return f"{sign}${small}" if small < 1 else f"{sign}${size:,.2f}"
