"""Budgets: what users, groups and API keys may spend, and what they have spent."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from llmchat.models import spending
from llmchat.models.revision import Watched

# The highest limit: SQLite rounds a higher one, and then cannot read it.
HIGHEST = Decimal(10) ** 12 - 1


def today() -> date:
    """Return today's date in UTC."""
    return timezone.now().date()


_OWNERS = ("user", "group", "api_key")
_NOBODY = Q(user=None, group=None, api_key=None)

# Budgets of which each user that they apply to has their own.
OF_EACH = Q(is_default=True) | Q(per_member=True)


def _has_only(owner: str) -> Q:
    names = {f"{name}__isnull": name != owner for name in _OWNERS}
    return Q(**names, is_default=False)


class Budget(Watched):
    """How much may be spent in a period; days and months are in UTC.

    A budget is for a user, for an API key, or for the members of a group together. If
    it is a default budget, or `per_member`, each user has one of their own: then
    `is_of_each` is true, and `BudgetUse` holds what each user has spent. Otherwise
    `spent` holds the amount, for the period that began on `period_start`; in a later
    period nothing is spent yet. `told_at` is the `notice_amount` at which a notice was
    given in that period, None if there was none.
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
        help_text=_("Replaces the default budget with the same period and unit."),
    )
    group = models.ForeignKey(
        Group,
        null=True,
        blank=True,
        # Deleted with its group, a budget would leave the members without a limit.
        on_delete=models.PROTECT,
        related_name="budgets",
        help_text=_("All members share this budget, unless “For each member” is on."),
    )
    per_member = models.BooleanField(
        _("for each member"),
        default=False,
        db_default=False,
        help_text=_("Gives each member of the group a separate budget of this size."),
    )
    api_key = models.ForeignKey(
        "accounts.ApiKey",
        verbose_name=_("API key"),
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="budgets",
        help_text=_("Applies in addition to the budgets of the key’s user."),
    )
    is_default = models.BooleanField(
        _("default for everybody"),
        default=False,
        db_default=False,
        help_text=_(
            "Gives each user a separate budget of this size, except users who have "
            "their own budget with the same period and unit. If several budgets apply "
            "to a request, all of them must have something left."
        ),
    )
    period = models.CharField(max_length=8, choices=Period, default=Period.DAY)
    unit = models.CharField(max_length=8, choices=Unit, default=Unit.TOKENS)
    limit = models.DecimalField(
        max_digits=18,
        decimal_places=6,
        validators=[MinValueValidator(0)],
        help_text=_(
            "Tokens of prompts and answers together, or US dollars. 0 allows nothing."
        ),
    )
    notice_percent = models.PositiveSmallIntegerField(
        _("notice at"),
        blank=True,
        default=80,
        db_default=80,
        validators=[MaxValueValidator(100)],
        help_text=_(
            "The percentage of the limit at which users get a notice, once per "
            "period. 0 turns notices off."
        ),
    )
    period_start = models.DateField(default=today, editable=False)
    spent = models.DecimalField(
        max_digits=24, decimal_places=10, default=Decimal(0), editable=False
    )
    told_at = models.DecimalField(
        max_digits=24, decimal_places=10, null=True, editable=False
    )

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.CheckConstraint(
                condition=_has_only("user")
                | _has_only("group")
                | _has_only("api_key")
                | (_NOBODY & Q(is_default=True)),
                name="budget_of_one_owner",
                violation_error_message=_(
                    "Choose one user, one group or one API key, or turn on “Default "
                    "for everybody”."
                ),
            ),
            models.CheckConstraint(
                condition=Q(per_member=False) | Q(group__isnull=False),
                name="budget_for_members_of_a_group",
                violation_error_message=_(
                    "Choose a group, or turn off “For each member”."
                ),
            ),
            models.UniqueConstraint(
                fields=["period", "unit"],
                condition=Q(is_default=True),
                name="budget_by_default",
                violation_error_message=_(
                    "There is already a default budget with this period and unit."
                ),
            ),
            models.UniqueConstraint(
                fields=["user", "period", "unit"],
                name="budget_of_a_user",
                violation_error_message=_(
                    "This user already has a budget with this period and unit."
                ),
            ),
            models.UniqueConstraint(
                fields=["group", "period", "unit", "per_member"],
                name="budget_of_a_group",
                violation_error_message=_(
                    "This group already has a budget with this period, unit and “For "
                    "each member” setting."
                ),
            ),
            models.UniqueConstraint(
                fields=["api_key", "period", "unit"],
                name="budget_of_an_api_key",
                violation_error_message=_(
                    "This API key already has a budget with this period and unit."
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.limit.normalize():f} {self.unit} a {self.period}"

    @property
    def is_of_each(self) -> bool:
        """Return whether each user that the budget applies to has their own."""
        return self.is_default or self.per_member

    @property
    def shared_by(self) -> str:
        """Return who draws on one amount: a `user`, a `group` or a `key`."""
        if self.api_key_id is not None:
            return "key"
        is_shared = self.group_id is not None and not self.per_member
        return "group" if is_shared else "user"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the budget; a new one starts with what the period has cost already.

        A new budget whose `spent` is set keeps that amount instead.
        """
        if not self._state.adding or self.spent:
            super().save(*args, **kwargs)
            return
        with transaction.atomic():
            running = spending.begin(self)
            super().save(*args, **kwargs)
            spending.note_running(self, running)

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

    @property
    def notice_amount(self) -> Decimal:
        """Return the amount of spending at which a notice is due."""
        return self.limit * self.notice_percent / 100

    def calls_for_notice(self, spent: Decimal) -> bool:
        """Return whether a notice is due when `spent` is spent."""
        return self.notice_percent > 0 and spent >= self.notice_amount
