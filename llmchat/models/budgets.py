"""Budgets of users, groups and API keys, and what running answers reserve of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from llmchat.models.revision import Watched

# The highest limit: SQLite rounds what is above it, and then cannot read it.
HIGHEST = Decimal(10) ** 12 - 1


def today() -> date:
    """Return today's date in UTC."""
    return timezone.now().date()


_OWNERS = ("user", "group", "api_key")


def _has_only(owner: str) -> Q:
    return Q(**{f"{name}__isnull": name != owner for name in _OWNERS})


class Budget(Watched):
    """What a user, the members of a group together, or an API key may spend a period.

    Days and months are in UTC. `spent` is for the period that began on
    `period_start`; in any later one nothing is spent yet.
    """

    class Period(models.TextChoices):
        DAY = "day", _("day")
        MONTH = "month", _("month")

    class Unit(models.TextChoices):
        TOKENS = "tokens", _("tokens")
        DOLLARS = "dollars", _("US dollars")

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="budgets",
    )
    group = models.ForeignKey(
        Group,
        null=True,
        blank=True,
        # Deleted with its group, a budget would leave the members without a limit.
        on_delete=models.PROTECT,
        related_name="budgets",
        help_text=_("All members of the group share this budget."),
    )
    api_key = models.ForeignKey(
        "accounts.ApiKey",
        verbose_name=_("API key"),
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="budgets",
        help_text=_("Beside the budgets of its user, which apply all the same."),
    )
    period = models.CharField(max_length=8, choices=Period, default=Period.DAY)
    unit = models.CharField(max_length=8, choices=Unit, default=Unit.TOKENS)
    limit = models.DecimalField(
        max_digits=18,
        decimal_places=6,
        validators=[MinValueValidator(0)],
        help_text=_("Tokens of prompts and answers, or US dollars. 0 allows nothing."),
    )
    period_start = models.DateField(default=today, editable=False)
    spent = models.DecimalField(
        max_digits=24, decimal_places=10, default=Decimal(0), editable=False
    )

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.CheckConstraint(
                condition=_has_only("user") | _has_only("group") | _has_only("api_key"),
                name="budget_of_one_owner",
                violation_error_message=_("Choose a user, a group or an API key."),
            ),
            models.UniqueConstraint(
                fields=["user", "period", "unit"],
                name="budget_of_a_user",
                violation_error_message=_("This user already has such a budget."),
            ),
            models.UniqueConstraint(
                fields=["group", "period", "unit"],
                name="budget_of_a_group",
                violation_error_message=_("This group already has such a budget."),
            ),
            models.UniqueConstraint(
                fields=["api_key", "period", "unit"],
                name="budget_of_an_api_key",
                violation_error_message=_("This API key already has such a budget."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.limit.normalize():f} {self.unit} a {self.period}"

    def start_of_period(self, now: datetime) -> date:
        """Return the first day of the period that `now` is in."""
        today = now.astimezone(UTC).date()
        return today if self.period == self.Period.DAY else today.replace(day=1)

    def renews_at(self, now: datetime) -> datetime:
        """Return when the next period begins."""
        start = self.start_of_period(now)
        if self.period == self.Period.DAY:
            following = date.fromordinal(start.toordinal() + 1)
        else:
            following = (
                start.replace(month=start.month + 1)
                if start.month < 12
                else start.replace(year=start.year + 1, month=1)
            )
        return datetime.combine(following, time(), UTC)

    def spent_at(self, now: datetime) -> Decimal:
        """Return what is spent of the budget in the period that `now` is in."""
        is_current = self.period_start == self.start_of_period(now)
        return self.spent if is_current else Decimal(0)


class Reservation(models.Model):
    """The most that a running answer may spend of a budget.

    It holds the answer's id and no foreign key: an answer that is deleted while it
    streams has its cost all the same.
    """

    budget = models.ForeignKey(
        Budget, on_delete=models.CASCADE, related_name="reservations"
    )
    message_id = models.UUIDField(db_index=True)
    amount = models.DecimalField(max_digits=24, decimal_places=10)

    def __str__(self) -> str:
        return f"{self.amount.normalize():f} for {self.message_id}"
