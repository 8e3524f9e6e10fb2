"""Budgets: reserved before a provider is called, settled after the answer.

An answer may begin while anything is left of each budget that applies to its user. The
most that it can cost is reserved in the same transaction, under the row locks of the
budgets. So concurrent answers cannot spend the same remainder twice, and a budget is
overdrawn by one answer at most. When the answer ends, its cost replaces the
reservation. `sweep` releases the reservations of dead processes.

Lock order: the conversation, then budgets by key, then reservations. With one order no
two transactions deadlock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from llmchat.errors import ChatError, refusal
from llmchat.models import Budget, Message, Reservation
from llmchat.providers.types import Usage

# Reserved for the answer if neither the client nor the provider's row sets a limit.
DEFAULT_OUTPUT_TOKENS = 4096
_RETRY_AFTER_RESERVED_S = 5
_ADJECTIVES = {Budget.Period.DAY: "daily", Budget.Period.MONTH: "monthly"}
_NOUNS = {Budget.Unit.TOKENS: "token", Budget.Unit.DOLLARS: "money"}


def reserve(
    user_id: int, message_id: UUID, most: Usage, cost: Decimal | None
) -> tuple[int, ...]:
    """Reserve the most that an answer can use; return the ids of its budgets.

    Called in the transaction that stores the answer's row. `cost` is the price of
    `most`, None if the provider has no prices.

    Raises: ChatError `budget_exceeded`, `price_not_configured`.
    """
    budgets = list(_locked(_of_user(user_id)))
    if not budgets:
        return ()
    now = timezone.now()
    reserved = _reserved(budgets)
    for budget in budgets:
        spent = budget.spent_at(now)
        if spent + reserved.get(budget.pk, 0) >= budget.limit:
            raise _exceeded(budget, now, is_spent=spent >= budget.limit)
        if budget.unit == Budget.Unit.DOLLARS and cost is None:
            raise refusal("price_not_configured")
    Reservation.objects.bulk_create(
        Reservation(
            budget=budget, message_id=message_id, amount=_amount(budget, most, cost)
        )
        for budget in budgets
    )
    return tuple(budget.pk for budget in budgets)


def settle(
    budget_ids: Sequence[int], message_id: UUID, usage: Usage, cost: Decimal | None
) -> None:
    """Replace the reservations of an answer with its actual usage.

    Called in the transaction that stores the answer's end.
    """
    if not budget_ids:
        return
    now = timezone.now()
    for budget in _locked(Budget.objects.filter(pk__in=budget_ids)):
        budget.spent = budget.spent_at(now) + _amount(budget, usage, cost)
        budget.period_start = budget.start_of_period(now)
        budget.save(update_fields=["spent", "period_start"])
    release([message_id])


def release(message_ids: Iterable[UUID]) -> None:
    """Release the reservations of answers that will not be settled."""
    Reservation.objects.filter(message_id__in=message_ids).delete()


def has_reserved(message_id: UUID) -> bool:
    """Return whether an answer has reservations that are not settled."""
    return Reservation.objects.filter(message_id=message_id).exists()


def release_orphans() -> int:
    """Release reservations without a running answer; return how many.

    Those that an end is about to settle are locked, and skipped.
    """
    running = Message.objects.filter(state=Message.State.STREAMING).order_by()
    orphans = Reservation.objects.exclude(message_id__in=running.values("pk"))
    with transaction.atomic():
        free = orphans.order_by("pk").select_for_update(skip_locked=True)
        idents = list(free.values_list("pk", flat=True))
        return Reservation.objects.filter(pk__in=idents).delete()[0]


def on_budget_delete(sender: Any, instance: Budget, **kwargs: Any) -> None:
    """Lock a budget; called by Django before it deletes the budget.

    Django deletes the reservations first, but an end locks the budget first.
    """
    list(_locked(Budget.objects.filter(pk=instance.pk)).values_list("pk"))


def _of_user(user_id: int) -> QuerySet[Budget]:
    groups = Group.objects.filter(user=user_id).values("pk")
    return Budget.objects.filter(Q(user_id=user_id) | Q(group__in=groups))


def _locked(budgets: QuerySet[Budget]) -> QuerySet[Budget]:
    return budgets.select_for_update(no_key=True).order_by("pk")


def _reserved(budgets: Sequence[Budget]) -> dict[int, Decimal]:
    rows = Reservation.objects.filter(budget__in=budgets).values_list("budget")
    return dict(rows.annotate(Sum("amount")))


def _amount(budget: Budget, usage: Usage, cost: Decimal | None) -> Decimal:
    if budget.unit == Budget.Unit.DOLLARS:
        return cost or Decimal(0)
    return Decimal((usage.input_tokens or 0) + usage.output_tokens)


def _exceeded(budget: Budget, now: datetime, *, is_spent: bool) -> ChatError:
    """Return the error; a budget that is only reserved may be free again soon."""
    renews_at = budget.renews_at(now)
    whose = "Your" if budget.group_id is None else "Your group's"
    period = _ADJECTIVES[Budget.Period(budget.period)]
    noun = _NOUNS[Budget.Unit(budget.unit)]
    state = "used up" if is_spent else "taken up by answers that are being written"
    return refusal(
        "budget_exceeded",
        text=f"{whose} {period} {noun} budget is {state}; "
        f"it renews on {renews_at:%Y-%m-%d at %H:%M} UTC",
        retry_after=math.ceil((renews_at - now).total_seconds())
        if is_spent
        else _RETRY_AFTER_RESERVED_S,
    )
