"""What a period has cost already, counted from the answers that are stored.

A budget that is created in the middle of a period starts with this amount. Answers that
are running at that time are left out: a late reservation, of the amount 0, makes the
sweep settle each of them once it has ended. The running answers are read first, so that
an answer that ends before the rest is read is counted only once.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from llmchat.models.budget_uses import BudgetUse, Reservation
from llmchat.models.conversations import AnswerState, Message

if TYPE_CHECKING:
    from llmchat.models.budgets import Budget

# Longer than any answer takes, from its beginning until its end is stored.
_LONGEST = timedelta(days=1)
_TOKENS = Sum(Coalesce("input_tokens", 0) + Coalesce("output_tokens", 0))


def begin(budget: Budget) -> list[UUID]:
    """Set what is spent of a budget that is about to be stored; return running answers.

    If each user has one of their own, it is counted when the user first draws on it.
    """
    budget.period_start = budget.start_of_period(timezone.now())
    budget.spent, budget.told_at = Decimal(0), None
    if budget.is_of_each:
        return []
    lock_users(budget)
    owner = _owner(budget)
    running = _running(owner)
    budget.spent = _spent(budget, owner, running)
    return running


def lock_users(budget: Budget) -> None:
    """Lock the users who share a budget, so that none of them can begin an answer.

    They are locked before the budget itself, as when an answer starts.
    """
    if budget.is_default:
        return  # each has their own
    if budget.group_id is not None:
        whose = Q(groups=budget.group_id)
    else:
        whose = Q(pk=budget.user_id or _user_of_key(budget))
    users = get_user_model()._default_manager.filter(whose).order_by("pk")
    locked = users.select_for_update(no_key=True, of=("self",))
    list(locked.values_list("pk"))


def note_running(
    budget: Budget, running: Collection[UUID], owner_id: int | None = None
) -> None:
    """Have a sweep settle these answers, which began before the budget was created.

    Answers that have a reservation of the budget are settled when they end.
    """
    if not running:
        return
    known = Reservation.objects.filter(budget=budget, message_id__in=running)
    reserved = set(known.values_list("message_id", flat=True))
    rows = [
        Reservation(
            budget=budget,
            owner_id=owner_id,
            message_id=ident,
            amount=0,
            is_late=True,
        )
        for ident in running
        if ident not in reserved
    ]
    Reservation.objects.bulk_create(rows)


def count_use(use: BudgetUse) -> None:
    """Set what a user has spent of a budget; the row is locked or not stored yet."""
    budget, owner = use.budget, Q(user=use.user_id)
    if use.pk is not None:
        _forget_late(Reservation.objects.filter(owner_id=use.user_id), budget)
    running = _running(owner)
    use.period_start = budget.start_of_period(timezone.now())
    use.spent, use.told_at = _spent(budget, owner, running), None
    note_running(budget, running, use.user_id)


def forget_use(user_id: int, period: str, unit: str) -> None:
    """Have a user's use of the default budget recounted.

    The default budget applies to the user again. What the user has used under a budget
    of their own was not added to it.
    """
    uses = BudgetUse.objects.filter(budget__is_default=True, user=user_id)
    uses.filter(budget__period=period, budget__unit=unit).update(period_start=None)


def spent_by(budget: Budget, user_id: int) -> Decimal:
    """Return what a user has used, in this period, of a budget that each user has."""
    return _spent(budget, Q(user=user_id), ())


def recount(budget: Budget) -> None:
    """Recount a budget whose unit, period or owners have just been changed.

    The caller has changed it in this transaction, and has called `lock_users` before.

    Its reservations are in the old unit, so they become 0. Answers that were to be
    settled late, whether for one member or for all, are counted with the others.
    """
    uses = BudgetUse.objects.filter(budget=budget)
    # Before the reservations, and in the order in which others lock them.
    list(uses.order_by("pk").select_for_update(no_key=True).values_list("pk"))
    uses.update(period_start=None)
    Reservation.objects.filter(budget=budget).update(amount=0)
    _forget_late(Reservation.objects.all(), budget)
    if budget.is_of_each:
        return
    running = begin(budget)
    budget.save(update_fields=["spent", "period_start", "told_at"])
    note_running(budget, running)


def _forget_late(reservations: QuerySet[Reservation], budget: Budget) -> None:
    """Delete late reservations: answers that have ended are counted instead."""
    reservations.filter(budget=budget, is_late=True).delete()


def _owner(budget: Budget) -> Q:
    if budget.user_id is not None:
        return Q(user=budget.user_id)
    if budget.api_key_id is not None:
        return Q(user=_user_of_key(budget), key_id=budget.api_key_id)
    members = get_user_model()._default_manager.filter(groups=budget.group_id)
    return Q(user__in=members.order_by().values("pk"))


def _user_of_key(budget: Budget) -> int | None:
    return budget.api_key.user_id if budget.api_key is not None else None


def _running(owner: Q) -> list[UUID]:
    rows = Message.objects.filter(owner, state=AnswerState.STREAMING)
    return list(rows.order_by().values_list("pk", flat=True))


def _spent(budget: Budget, owner: Q, running: Collection[UUID]) -> Decimal:
    start = datetime.combine(budget.start_of_period(timezone.now()), time(), UTC)
    # An answer counts in the period in which it ends, when it is settled. The condition
    # on `created_at` is for the index.
    answers = Message.objects.filter(
        owner,
        Q(finished_at__gte=start) | Q(finished_at=None, created_at__gte=start),
        role=Message.Role.ASSISTANT,
        created_at__gte=start - _LONGEST,
    )
    if running:
        answers = answers.exclude(pk__in=running)
    is_money = budget.unit == budget.Unit.DOLLARS
    measured = answers.order_by().aggregate(sum=Sum("cost") if is_money else _TOKENS)
    return Decimal(measured["sum"] or 0)
