"""Budgets in the admin: how much users, groups and API keys may use."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.core.validators import MaxValueValidator
from django.db.models import QuerySet, Sum
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext_lazy as _

from llmchat.admin.base import ChangesForm, SavesChanges, dollars
from llmchat.admin.look import ModelAdmin
from llmchat.models import Budget
from llmchat.models.budgets import HIGHEST


class BudgetForm(ChangesForm):
    """A form whose limit every database can hold."""

    def clean_limit(self) -> Decimal:
        """Return the limit. Raises: ValidationError."""
        limit: Decimal = self.cleaned_data["limit"]
        MaxValueValidator(HIGHEST)(limit)
        return limit


@admin.register(Budget)
class BudgetAdmin(ModelAdmin, SavesChanges):
    """Budgets of users, groups and API keys, with the amounts spent.

    An amount spent is for one owner, unit and period, so only the limit of an
    existing budget can be changed.
    """

    form = BudgetForm
    list_display = [
        "owner",
        "period",
        "unit",
        "shown_limit",
        "spent_now",
        "reserved_now",
        "renews",
    ]
    list_display_links = ["owner"]
    list_filter = ["period", "unit"]
    list_select_related = ["user", "group", "api_key__user"]
    search_fields = ["user__username", "group__name", "api_key__prefix"]
    autocomplete_fields = ["user", "group", "api_key"]
    fields = [
        "user",
        "group",
        "api_key",
        "period",
        "unit",
        "limit",
        "spent_now",
        "reserved_now",
        "renews",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        """Add up the reservations in the same query."""
        rows: QuerySet[Budget] = super().get_queryset(request)
        return rows.annotate(reserved=Sum("reservations__amount"))

    def get_readonly_fields(
        self, request: HttpRequest, obj: Budget | None = None
    ) -> list[str]:
        """Fix the owner, unit and period of an existing budget."""
        shown = ["spent_now", "reserved_now", "renews"]
        owners = ["user", "group", "api_key"]
        return shown if obj is None else [*owners, "period", "unit", *shown]

    @admin.display(description=_("owner"), ordering="user__username")
    def owner(self, budget: Budget) -> str:
        """Show the user, the group or the API key."""
        if budget.user is not None:
            return budget.user.get_username()
        if budget.api_key is not None:
            return f"key {budget.api_key} of {budget.api_key.user}"
        return f"group {budget.group}"

    @admin.display(description=_("limit"), ordering="limit")
    def shown_limit(self, budget: Budget) -> str:
        """Show the limit in its unit."""
        return _shown(budget, budget.limit)

    @admin.display(description=_("spent in this period"))
    def spent_now(self, budget: Budget) -> str:
        """Show the amount spent in the current period."""
        return _shown(budget, budget.spent_at(timezone.now()))

    @admin.display(description=_("reserved by running answers"))
    def reserved_now(self, budget: Any) -> str:
        """Show the amount that running answers have reserved."""
        return _shown(budget, getattr(budget, "reserved", None) or Decimal(0))

    @admin.display(description=_("renews at"))
    def renews(self, budget: Budget) -> str:
        """Show when the next period begins."""
        return f"{budget.renews_at(timezone.now()):%Y-%m-%d %H:%M} UTC"


def _shown(budget: Budget, amount: Decimal) -> str:
    if budget.unit == Budget.Unit.DOLLARS:
        return dollars(amount)
    return number_format(amount, decimal_pos=0, use_l10n=True, force_grouping=True)
