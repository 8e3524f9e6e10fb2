"""Answers that were running when a budget was made, settled once they have ended.

The end of such an answer does not know of the budget, or missed it because it was
changed at that very moment. The sweep looks for them, so what they used is in the
budget within a minute.
"""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from llmchat.access import uses
from llmchat.access.accounts import Account
from llmchat.models import Budget, BudgetUse, Message, Reservation


def settle() -> None:
    """Settle the answers that have ended; several workers can do so concurrently."""
    running = Message.objects.filter(state=Message.State.STREAMING).order_by()
    late = Reservation.objects.filter(is_late=True)
    ended = late.exclude(message_id__in=running.values("pk")).order_by("pk")
    for row in list(ended):
        with transaction.atomic():
            account = _locked(row)
            # Another worker may have been quicker, or the budget has been recounted.
            is_there = bool(Reservation.objects.filter(pk=row.pk).delete()[0])
            if account is not None and is_there:
                _add(account, row.message_id)


def _locked(row: Reservation) -> Account | None:
    if row.owner_id is None:
        locked = Budget.objects.select_for_update(no_key=True)
        budget = locked.filter(pk=row.budget_id).first()
        return None if budget is None else Account(budget)
    budget = uses.hold((), [row.budget_id]).get(row.budget_id)
    if budget is None:
        return None
    known = uses.lock({budget.pk: budget}, [row.owner_id], {})
    use = known.get((budget.pk, row.owner_id))
    return None if use is None else Account(budget, use)


def _add(account: Account, message_id: UUID) -> None:
    budget, now = account.budget, timezone.now()
    start = datetime.combine(budget.start_of_period(now), time(), UTC)
    answers = Message.objects.filter(pk=message_id, finished_at__gte=start)
    fields = ("input_tokens", "output_tokens", "cost")
    for read, written, cost in answers.order_by().values_list(*fields):
        tokens = Decimal((read or 0) + (written or 0))
        is_money = budget.unit == Budget.Unit.DOLLARS
        account.add(cost or Decimal(0) if is_money else tokens, now)
        row: Budget | BudgetUse = account.use or budget
        row.save(update_fields=["spent", "period_start", "told_at"])
