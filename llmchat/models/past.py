"""What was used by answers that are not stored any more."""

from __future__ import annotations

from django.db import models


class PastUse(models.Model):
    """The sums of a day, provider and model over answers that were deleted.

    Nobody's name is kept, so that deleting an account or a conversation changes no
    total. So many answers are `unpriced`, and have no share in the cost. Days are in
    UTC, and are those that the answers began on.
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
