"""A budget as one answer draws on it, and the notice that little of it is left."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from llmchat.models import Budget, BudgetUse


@dataclass(frozen=True, slots=True)
class Notice:
    """The notice that an answer has brought a budget to its notice threshold.

    `of` says whose budget it is: `user`, `group` or `key`.
    """

    period: str
    unit: str
    limit: Decimal
    spent: Decimal
    renews_at: datetime
    of: str

    @property
    def percent(self) -> int:
        """Return how much of the limit is spent."""
        return int(100 * self.spent / self.limit) if self.limit else 100


class BudgetedAnswer(Protocol):
    """An answer that draws on budgets, such as a `Begun`."""

    @property
    def user_id(self) -> int:
        """Whose answer it is."""

    @property
    def message_id(self) -> UUID:
        """Which answer it is."""

    @property
    def budgets(self) -> tuple[int, ...]:
        """The ids of the budgets that hold a reservation for it."""


@dataclass(frozen=True, slots=True)
class Account:
    """A budget, and one user's `BudgetUse` of it if each user has their own amount."""

    budget: Budget
    use: BudgetUse | None = None

    @property
    def key(self) -> tuple[int, int | None]:
        """Return the key by which its reservations are found."""
        return self.budget.pk, None if self.use is None else self.use.user_id

    def spent_at(self, now: datetime) -> Decimal:
        """Return what is spent in the period that `now` is in."""
        return (self.use or self.budget).spent_at(now)

    def add(self, amount: Decimal, now: datetime) -> Decimal:
        """Add to the amount spent and return the new total; nothing is stored here."""
        row = self.use or self.budget
        now = _no_earlier(now, row.period_start)
        start = self.budget.start_of_period(now)
        if row.period_start != start:
            row.told_at = None
        row.spent = row.spent_at(now) + amount
        row.period_start = start
        return row.spent

    def add_and_tell(self, amount: Decimal, now: datetime) -> Notice | None:
        """Add to the amount spent; return the notice that is due now, None for none.

        A notice is due once a period, however the amount came to be spent, and once
        more after a change of the threshold (`notice_amount`).
        """
        notice = self.notice_at(self.add(amount, now), now)
        row, at = self.use or self.budget, self.budget.notice_amount
        if notice is None or row.told_at == at:
            return None
        row.told_at = at
        return notice

    def notice_at(self, spent: Decimal, now: datetime) -> Notice | None:
        """Return the notice that this amount spent calls for, None for none."""
        budget = self.budget
        if not budget.calls_for_notice(spent):
            return None
        return Notice(
            period=budget.period,
            unit=budget.unit,
            limit=budget.limit,
            spent=spent,
            renews_at=budget.renews_at(now),
            of=budget.shared_by,
        )


def _no_earlier(now: datetime, period_start: date | None) -> datetime:
    """Return `now`, or the start of the stored period if that is later.

    The clock of another machine may be ahead of this one's.
    """
    if period_start is None or period_start <= now.astimezone(UTC).date():
        return now
    return datetime.combine(period_start, time(), UTC)
