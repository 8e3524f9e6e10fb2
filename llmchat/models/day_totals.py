"""What the answers of whole days add up to, so that a quarter is read in a moment.

Only PostgreSQL has them (migration 0033): its triggers note which days have changed
since, and `reports/day_totals.py` adds those up anew. The books do not know of them.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class DayTotal(models.Model):
    """The answers of one day that have the rest in common.

    Of each day there are rows by provider, model and how the answers ended, rows by
    user, and one of `kind` DAY, which says that the others are there.
    """

    class Kind(models.TextChoices):
        DAY = "day"
        MODEL = "model"
        USER = "user"

    day = models.DateField()
    kind = models.CharField(max_length=8, choices=Kind)
    # Not a reference: who is deleted takes the answers along, and the day is changed.
    user_id = models.BigIntegerField(null=True)
    provider = models.CharField(max_length=64, default="")
    model = models.CharField(max_length=128, default="")
    state = models.CharField(max_length=16, default="")
    finish_reason = models.CharField(max_length=32, default="")
    answers = models.PositiveBigIntegerField()
    unpriced = models.PositiveBigIntegerField()
    input_tokens = models.PositiveBigIntegerField()
    output_tokens = models.PositiveBigIntegerField()
    cost = models.DecimalField(max_digits=20, decimal_places=10, null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["day"], condition=Q(kind="day"), name="day_total_known"
            ),
            models.Index(fields=["kind", "day"], name="day_total_kind"),
            models.Index(
                fields=["user_id", "day"],
                condition=Q(kind="user"),
                name="day_total_user",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.kind}"


class DayChange(models.Model):
    """A day whose answers have changed since; triggers write it."""

    day = models.DateField()

    def __str__(self) -> str:
        return str(self.day)
