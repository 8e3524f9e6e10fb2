"""What each user has spent of a budget, and what running answers might still spend."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db import models


class BudgetUse(models.Model):
    """What one user has spent of a budget of which each user has their own.

    The row is created when the user first draws on the budget. While `period_start` is
    None, the amount has yet to be counted from the stored answers. `told_at` means the
    same as in `Budget`. If a group shares the budget, the row only records the notice
    that a member was given.
    """

    budget = models.ForeignKey(
        "llmchat.Budget", on_delete=models.CASCADE, related_name="uses"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="budget_uses"
    )
    period_start = models.DateField(null=True)
    spent = models.DecimalField(max_digits=24, decimal_places=10, default=Decimal(0))
    told_at = models.DecimalField(max_digits=24, decimal_places=10, null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["budget", "user"], name="budget_use_of_a_user"
            )
        ]

    def __str__(self) -> str:
        return f"{self.spent.normalize():f} by user {self.user_id}"

    def spent_at(self, now: datetime) -> Decimal:
        """Return what the user has spent in the period that `now` is in."""
        is_current = self.period_start == self.budget.start_of_period(now)
        return self.spent if is_current else Decimal(0)


class Reservation(models.Model):
    """The most that a running answer can spend of a budget.

    It holds the answer's id rather than a foreign key: an answer that is deleted while
    it streams has a cost all the same. `owner_id` is the user whose `BudgetUse` it
    counts against, if each user has their own. A reservation that `is_late` is for an
    answer that was running when the budget was created, or whose end did not find the
    budget: a sweep settles it.
    """

    budget = models.ForeignKey(
        "llmchat.Budget", on_delete=models.CASCADE, related_name="reservations"
    )
    owner_id = models.BigIntegerField(null=True)
    message_id = models.UUIDField(db_index=True)
    amount = models.DecimalField(max_digits=24, decimal_places=10)
    is_late = models.BooleanField(default=False, db_default=False)

    def __str__(self) -> str:
        return f"{self.amount.normalize():f} for {self.message_id}"
