"""Budgets in the admin: how much users, groups and API keys may use."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.core.validators import MaxValueValidator
from django.db.models import OuterRef, Q, QuerySet, Subquery, Sum
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from llmchat.admin.base import ChangesForm, SavesChanges
from llmchat.admin.look import ModelAdmin, TabularInline
from llmchat.admin.progress import bar, shown
from llmchat.models import Budget, BudgetUse, Reservation, spending
from llmchat.models.budgets import HIGHEST

_OWNERS = ("user", "group", "per_member", "api_key", "is_default")
_WHAT = ("period", "unit")
_SHOWN = ("progress", "spent_now", "reserved_now", "renews")
_MOST_USERS = 10
# What a user had used before first drawing on a budget is counted then; until then only
# the user sees it.
_UNDRAWN = "no one has used it yet"


class BudgetForm(ChangesForm):
    """A form whose limit every database can hold."""

    def clean_limit(self) -> Decimal:
        """Return the limit. Raises: ValidationError."""
        limit: Decimal = self.cleaned_data["limit"]
        MaxValueValidator(HIGHEST)(limit)
        return limit

    def clean_notice_percent(self) -> int:
        """Return the percentage for a notice; a blank field keeps the stored one."""
        percent: int | None = self.cleaned_data["notice_percent"]
        return self.instance.notice_percent if percent is None else percent

    def save(self, commit: bool = True) -> Any:
        """Save the row; recount what is spent if its unit or period has changed.

        The same goes for a budget that is now for each member, or for all together.
        """
        is_other = bool({*_WHAT, "per_member"} & {*self.changed_data})
        if not commit or self.instance.pk is None or not is_other:
            return super().save(commit=commit)
        spending.lock_users(self.instance)
        row = super().save()
        spending.recount(row)
        if row.user_id is not None:
            was = {name: str(self.initial[name]) for name in _WHAT}
            spending.forget_use(row.user_id, **was)
        return row

    def _get_validation_exclusions(self) -> set[str]:
        """Include the owners in constraint checks, even if they cannot be changed."""
        # Django's own hook, which its stubs leave out.
        excluded: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return excluded.difference(_OWNERS)


class _Shown:
    """The limit and the usage of a budget, as lists and forms show them."""

    @admin.display(description=_("limit"), ordering="limit")
    def shown_limit(self, budget: Budget) -> str:
        """Show the limit in its unit."""
        return shown(budget, budget.limit)

    @admin.display(description=_("used"))
    def progress(self, budget: Budget) -> str:
        """Show as a bar how much of the limit is spent."""
        if budget.pk is None:
            return "–"
        if not budget.is_of_each:
            return bar(budget, budget.spent_at(timezone.now()))
        highest = next(iter(_uses(budget)[:1]), None)
        if highest is None:
            return bar(budget, Decimal(0), _UNDRAWN)
        return bar(budget, highest.spent, f"top user: {highest.user}")


def _current(budget: Budget) -> QuerySet[BudgetUse]:
    start = budget.start_of_period(timezone.now())
    return BudgetUse.objects.filter(budget=budget, period_start=start)


def _uses(budget: Budget) -> QuerySet[BudgetUse]:
    return _current(budget).select_related("user").order_by("-spent", "pk")


class BudgetInline(_Shown, TabularInline):
    """The budgets on a user's page, for operators who may change the user."""

    of = "accounts.change_user"
    model = Budget
    form = BudgetForm
    fields = ["period", "unit", "limit", "notice_percent", "progress"]
    readonly_fields = ["progress"]
    show_change_link = True

    def get_extra(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> int:
        """Show an empty row where there is no budget yet."""
        return 0 if obj is None or obj.budgets.exists() else 1

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow it if the operator can save the page."""
        allowed = super().has_add_permission(request, obj)
        return allowed and request.user.has_perm(self.of)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow it if the operator can save the page."""
        allowed = super().has_change_permission(request, obj)
        return allowed and request.user.has_perm(self.of)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow it if the operator can save the page."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and request.user.has_perm(self.of)


class GroupBudgetInline(BudgetInline):
    """The budgets on a group's page, shared or for each member."""

    of = "auth.change_group"
    fields = ["per_member", *BudgetInline.fields]


@admin.register(Budget)
class BudgetAdmin(_Shown, ModelAdmin, SavesChanges):
    """Budgets, with the amounts spent; the owner of a budget cannot be changed."""

    form = BudgetForm
    list_display = [
        "owner",
        "period",
        "unit",
        "shown_limit",
        "progress",
        "reserved_now",
        "renews",
    ]
    list_display_links = ["owner"]
    list_filter = ["period", "unit", "is_default", "per_member"]
    list_select_related = ["user", "group", "api_key__user"]
    search_fields = ["user__username", "group__name", "api_key__prefix"]
    autocomplete_fields = ["user", "group", "api_key"]
    fields = [*_OWNERS, "period", "unit", "limit", "notice_percent", *_SHOWN]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        """Add up the reservations, and find the top user, in the same query."""
        rows: QuerySet[Budget] = super().get_queryset(request)
        of_it = Reservation.objects.filter(budget=OuterRef("pk")).order_by()
        sums = of_it.values("budget").annotate(sum=Sum("amount")).values("sum")
        return rows.annotate(reserved=Subquery(sums), **_highest())

    def get_readonly_fields(
        self, request: HttpRequest, obj: Budget | None = None
    ) -> list[str]:
        """Fix the owner of an existing budget."""
        return [*_SHOWN] if obj is None else [*_OWNERS, *_SHOWN]

    @admin.display(description=_("owner"), ordering="user__username")
    def owner(self, budget: Budget) -> str:
        """Show the user, the group or the API key."""
        if budget.is_default:
            return "default for everybody"
        if budget.user is not None:
            return budget.user.get_username()
        if budget.api_key is not None:
            return f"key {budget.api_key} of {budget.api_key.user}"
        each = "each member of " if budget.per_member else ""
        return f"{each}group {budget.group}"

    @admin.display(description=_("used"))
    def progress(self, budget: Any) -> str:
        """Show as a bar how much of the limit is spent, or the most by any one user."""
        if not budget.is_of_each or not hasattr(budget, "highest"):
            return super().progress(budget)
        name = budget.highest_user
        words = f"top user: {name}" if name else _UNDRAWN
        return bar(budget, budget.highest or Decimal(0), words)

    @admin.display(description=_("spent in this period"))
    def spent_now(self, budget: Budget) -> str:
        """Show the amount spent in the current period, or those of the top users."""
        if not budget.is_of_each:
            return shown(budget, budget.spent_at(timezone.now()))
        if budget.pk is None:
            return "–"
        rows = [
            (use.user.get_username(), bar(budget, use.spent))
            for use in _uses(budget)[:_MOST_USERS]
        ]
        return format_html_join("", "<p>{}: {}</p>", rows) or _UNDRAWN

    @admin.display(description=_("reserved by running answers"))
    def reserved_now(self, budget: Any) -> str:
        """Show the amount that running answers have reserved."""
        return shown(budget, getattr(budget, "reserved", None) or Decimal(0))

    @admin.display(description=_("renews at"))
    def renews(self, budget: Budget) -> str:
        """Show when the next period begins."""
        return f"{budget.renews_at(timezone.now()):%Y-%m-%d %H:%M} UTC"


def _highest() -> dict[str, Subquery]:
    now = timezone.now()
    current = Q()
    for period in Budget.Period.values:
        start = Budget(period=period).start_of_period(now)
        current |= Q(budget__period=period, period_start=start)
    uses = BudgetUse.objects.filter(current, budget=OuterRef("pk"))
    first = uses.order_by("-spent", "pk")
    return {
        "highest": Subquery(first.values("spent")[:1]),
        "highest_user": Subquery(first.values("user__username")[:1]),
    }
