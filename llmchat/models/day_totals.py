"""The totals of the answers of whole days, so that reports on a quarter are fast.

Only PostgreSQL has them (migration 0038): its triggers note how each change of an
answer changes the sums of its day. `books/day_totals.py` adds these notes to the totals
in the background; `reports/day_totals.py` reads both together, which is correct at any
moment. The rest of the books does not know of them.
"""

from __future__ import annotations

from datetime import date, timedelta

from django.db import models
from django.db.models import Q

# The answers that count, in SQL: those that have ended and are not from a history.
COUNTED = "role = 'assistant' AND provider <> '' AND state <> 'streaming'"
# The figures that are added up, and the expressions that compute them from answers.
FIGURES = "answers, unpriced, to_price, input_tokens, output_tokens, cost"
ADDED_UP = (
    "count(*) AS answers,"
    " sum(CASE WHEN cost IS NULL THEN 1 ELSE 0 END) AS unpriced,"
    " sum(CASE WHEN cost IS NULL AND (input_tokens > 0 OR output_tokens > 0)"
    " THEN 1 ELSE 0 END) AS to_price,"
    " coalesce(sum(input_tokens), 0) AS input_tokens,"
    " coalesce(sum(output_tokens), 0) AS output_tokens,"
    " coalesce(sum(cost), 0) AS cost"
)
SUMMED = ", ".join(f"sum({name}) AS {name}" for name in FIGURES.split(", "))


# There are many users, so their totals are also added up for spans of this many days.
SPAN_DAYS = 10


def span_of(day: date) -> date:
    """Return the first day of the span that a day is in, as `SPAN` does in SQL."""
    return day - timedelta(days=(day - date.min).days % SPAN_DAYS)


SPAN = f"(day - mod(day - DATE '{date.min}', {SPAN_DAYS}))"


class Figures(models.Model):
    """The sums of some answers of a day, or the changes of these sums.

    `cost` is the cost of the answers that are priced. Of those that are not, `to_price`
    have used tokens, so that a price would change their cost.
    """

    day = models.DateField()
    provider = models.CharField(max_length=64, default="")
    model = models.CharField(max_length=128, default="")
    state = models.CharField(max_length=16, default="")
    finish_reason = models.CharField(max_length=32, default="")
    answers = models.BigIntegerField()
    unpriced = models.BigIntegerField()
    to_price = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    cost = models.DecimalField(max_digits=20, decimal_places=10)

    class Meta:
        abstract = True


class DayTotal(Figures):
    """The sums of the answers of one day that share the values of the other columns.

    A day that has been added up has rows by provider, model and how the answers ended,
    rows by user, and one row of `kind` DAY, which says that the others exist. When all
    days of a span have been added up, its rows of `kind` SPAN hold the sums by user;
    their `day` is the first day of the span, and the one without a user says that the
    others exist.
    """

    class Kind(models.TextChoices):
        DAY = "day"
        MODEL = "model"
        USER = "user"
        SPAN = "span"

    kind = models.CharField(max_length=8, choices=Kind)
    # Not a foreign key: a user is deleted with all answers, which changes the sums.
    user_id = models.BigIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["day"], condition=Q(kind="day"), name="day_total_known"
            ),
            models.UniqueConstraint(
                fields=["day", "provider", "model", "state", "finish_reason"],
                condition=Q(kind="model"),
                name="day_total_model",
            ),
            models.UniqueConstraint(
                fields=["day", "user_id"],
                condition=Q(kind="user"),
                name="day_total_user",
            ),
            models.UniqueConstraint(
                fields=["day", "user_id"],
                condition=Q(kind="span"),
                name="day_total_span",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.kind}"


class DayChange(Figures):
    """A change of a day's sums since they were last added up; triggers write it.

    The changes of a day that has not been added up mean nothing.
    """

    user_id = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.day} {self.answers:+}"
