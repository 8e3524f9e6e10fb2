"""What users can read of their own usage: their use by day, and their budgets.

Each takes one query, however many answers, budgets and groups there are. A budget of
which each user has their own takes one more until the user first draws on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group
from django.db.models import Count, OuterRef, Q, Subquery, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from llmchat.models import Budget, BudgetUse, Message, spending


@dataclass(frozen=True, slots=True)
class DayOfUse:
    """What a user's ended answers of one provider have used on one day (UTC).

    `unpriced` is how many have no cost; `cost` is that of the others, None if there are
    none.
    """

    day: date
    provider: str
    answers: int
    input_tokens: int
    output_tokens: int
    cost: Decimal | None
    unpriced: int


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """The state of a budget that applies to a user, in the current period.

    `reserved` is the most that the answers that are being written can spend.
    """

    budget: Budget
    spent: Decimal
    reserved: Decimal
    renews_at: datetime

    @property
    def left(self) -> Decimal:
        """Return what may still be spent, never less than zero."""
        return max(self.budget.limit - self.spent - self.reserved, Decimal(0))


def use_of(user_id: int, first: date, last: date) -> list[DayOfUse]:
    """Return what a user has used from one day to another, both included."""
    answers = (
        Message.objects.filter(
            user_id=user_id,
            role=Message.Role.ASSISTANT,
            created_at__gte=_midnight(first),
            created_at__lt=_midnight(last) + timedelta(days=1),
        )
        .exclude(provider="")  # came with a history
        .exclude(state=Message.State.STREAMING)
    )
    rows = (
        answers.annotate(day=TruncDate("created_at", tzinfo=UTC))
        .values_list("day", "provider")
        .annotate(
            Count("pk"),
            Sum("input_tokens"),
            Sum("output_tokens"),
            dollars=Sum("cost"),
            unpriced=Count("pk", filter=Q(cost=None)),
        )
    )
    return [
        DayOfUse(day, provider, count, read or 0, written or 0, *money)
        for day, provider, count, read, written, *money in rows.order_by(
            "day", "provider"
        )
    ]


def budgets_of(user_id: int, key_id: int | None = None) -> list[BudgetStatus]:
    """Return the budgets that a user draws on, and those of an API key if one is given.

    The budgets of the user's groups, and default budgets that apply, are included.
    """
    groups = Group.objects.filter(user=user_id)
    wanted = Q(user_id=user_id) | Q(group__in=groups) | Q(is_default=True)
    if key_id is not None:
        wanted |= Q(api_key_id=key_id)
    of_user = Q(reservations__owner_id=None) | Q(reservations__owner_id=user_id)
    uses = BudgetUse.objects.filter(budget=OuterRef("pk"), user=user_id)
    rows = Budget.objects.filter(wanted).annotate(
        reserved=Sum("reservations__amount", filter=of_user),
        used=Subquery(uses.values("spent")[:1]),
        used_since=Subquery(uses.values("period_start")[:1]),
    )
    found = list(rows.order_by("pk"))
    own = {(row.period, row.unit) for row in found if row.user_id is not None}
    return [
        _status(row, user_id)
        for row in found
        if not row.is_default or (row.period, row.unit) not in own
    ]


def _status(row: Any, user_id: int) -> BudgetStatus:
    """Return the state of a budget; if each user has their own, that of this user's."""
    now = timezone.now()
    if not row.is_of_each:
        spent = row.spent_at(now)
    elif row.used_since is None:
        spent = spending.spent_by(row, user_id)  # the user has not drawn on it yet
    else:
        is_current = row.used_since == row.start_of_period(now)
        spent = row.used if is_current else Decimal(0)
    return BudgetStatus(row, spent, row.reserved or Decimal(0), row.renews_at(now))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
