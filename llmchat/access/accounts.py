"""One budget as one answer draws on it, and the notice that little of it is left."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from llmchat.models import Budget, BudgetUse


class Drawing(Protocol):
    """An answer that draws on budgets, as `Begun` is one."""

    @property
    def user_id(self) -> int:
        """Whose answer it is."""

    @property
    def message_id(self) -> UUID:
        """Which answer it is."""

    @property
    def budgets(self) -> tuple[int, ...]:
        """What something is reserved of."""


@dataclass(frozen=True, slots=True)
class Account:
    """A budget, and what one user has used of it where everybody has their own."""

    budget: Budget
    use: BudgetUse | None = None

    @property
    def key(self) -> tuple[int, int | None]:
        """Return what its reservations are found by."""
        return self.budget.pk, None if self.use is None else self.use.user_id

    def spent_at(self, now: datetime) -> Decimal:
        """Return what is spent of it in the period that `now` is in."""
        return (self.use or self.budget).spent_at(now)

    def add(self, amount: Decimal, now: datetime) -> Decimal:
        """Add to what is spent; return what is spent then. It is not stored here."""
        row = self.use or self.budget
        row.spent = row.spent_at(now) + amount
        row.period_start = self.budget.start_of_period(now)
        return row.spent


@dataclass(frozen=True, slots=True)
class Notice:
    """An answer has brought a budget to the part of it at which that is told."""

    budget: Budget
    spent: Decimal

    @property
    def percent(self) -> Decimal:
        """Return how much of the limit is spent."""
        limit = self.budget.limit
        return 100 * self.spent / limit if limit else Decimal("Infinity")
