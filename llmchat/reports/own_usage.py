"""What users read of their own use: what they have used by day, and their budgets.

Each is one query, however many answers, budgets and groups there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from django.contrib.auth.models import Group
from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from llmchat.models import Budget, Message


@dataclass(frozen=True, slots=True)
class DayOfUse:
    """What a user's ended answers of one provider have used on one day (UTC)."""

    day: date
    provider: str
    answers: int
    input_tokens: int
    output_tokens: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class Standing:
    """A budget that applies to a user, in the period that is running.

    `reserved` is the most that answers may spend that are being written.
    """

    budget: Budget
    spent: Decimal
    reserved: Decimal
    renews_at: datetime

    @property
    def left(self) -> Decimal:
        """Return what may still be spent; no less than nothing."""
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
            Count("pk"), Sum("input_tokens"), Sum("output_tokens"), dollars=Sum("cost")
        )
    )
    return [
        DayOfUse(day, provider, count, read or 0, written or 0, cost or Decimal(0))
        for day, provider, count, read, written, cost in rows.order_by(
            "day", "provider"
        )
    ]


def budgets_of(user_id: int, key_id: int | None = None) -> list[Standing]:
    """Return the budgets that a user draws on, with an API key that of the key as well.

    Those of the user's groups are included.
    """
    groups = Group.objects.filter(user=user_id)
    wanted = Q(user_id=user_id) | Q(group__in=groups)
    if key_id is not None:
        wanted |= Q(api_key_id=key_id)
    budgets = Budget.objects.filter(wanted)
    now = timezone.now()
    return [
        Standing(row, row.spent_at(now), row.reserved or Decimal(0), row.renews_at(now))
        for row in budgets.annotate(reserved=Sum("reservations__amount")).order_by("pk")
    ]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
