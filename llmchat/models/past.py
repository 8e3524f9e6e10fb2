"""The usage of answers that are no longer stored."""

from __future__ import annotations

from django.db import models


class PastUse(models.Model):
    """The sums, by day, provider and model, of answers that were deleted.

    They keep totals the same when an account or a conversation is deleted, and hold no
    user's name. `unpriced` is the number of answers that have no share in the cost.
    Days are in UTC, and are those on which the answers began.
    """

    day = models.DateField()
    provider = models.CharField(max_length=64)
    model = models.CharField(max_length=128)
    answers = models.PositiveBigIntegerField(default=0)
    failures = models.PositiveBigIntegerField(default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    unpriced = models.PositiveBigIntegerField(default=0, db_default=0)
    cost = models.DecimalField(max_digits=24, decimal_places=10, default=0)

    class Meta:
        default_permissions = ()
        permissions = [("view_usage", "Can view the usage of all users")]
        constraints = [
            models.UniqueConstraint(
                fields=["day", "provider", "model"], name="past_use_of_a_day"
            )
        ]

    def __str__(self) -> str:
        return f"{self.answers} answers of {self.provider} on {self.day}"
