"""Budgets: reserved before a provider is called, settled after the answer.

An answer may begin while anything is left of each budget that applies: those of its
user, of the user's groups, and of the API key that asks. The
most that it can cost is reserved in the same transaction, under the row locks of the
budgets. So concurrent answers cannot spend the same remainder twice, and a budget is
overdrawn by one answer at most. When the answer ends, its cost replaces the
reservation. `sweep` releases the reservations of dead processes.

Lock order: the conversation, then budgets by key, then reservations. With one order no
two transactions deadlock.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from llmchat.errors import ChatError, refusal
from llmchat.models import Budget, Message, Reservation
from llmchat.models.revision import revise
from llmchat.providers.types import Usage

# Reserved for the answer if neither the client nor the provider's row sets a limit.
DEFAULT_OUTPUT_TOKENS = 4096
_RETRY_AFTER_RESERVED_S = 5
_ADJECTIVES = {Budget.Period.DAY: "daily", Budget.Period.MONTH: "monthly"}
_NOUNS = {Budget.Unit.TOKENS: "token", Budget.Unit.DOLLARS: "money"}


class Ledger:
    """The locked budgets of some users and ends, until `write`.

    What is reserved and settled is noted here first, one answer after another.
    """

    def __init__(self) -> None:
        self._budgets: dict[int, Budget] = {}
        self._of_user: dict[int, list[Budget]] = {}
        self._of_key: dict[int, list[Budget]] = {}
        self._reserved: dict[int, Decimal] = {}
        self._reservations: list[Reservation] = []
        self._settled: dict[UUID, None] = {}
        self._changed: dict[int, Budget] = {}
        self._now = timezone.now()

    def lock(
        self,
        members: Mapping[int, Set[int]],
        key_ids: Collection[int],
        budget_ids: Collection[int],
    ) -> None:
        """Read the budgets of users, with their groups, of keys, and those named."""
        groups = set().union(*members.values())
        wanted = Q(user__in=members) | Q(group__in=groups) | Q(pk__in=budget_ids)
        if key_ids:
            wanted |= Q(api_key__in=key_ids)
        self._budgets = {row.pk: row for row in _locked(Budget.objects.filter(wanted))}
        for user_id, theirs in members.items():
            self._of_user[user_id] = [
                row
                for row in self._budgets.values()
                if row.user_id == user_id or row.group_id in theirs
            ]
        for key_id in key_ids:
            self._of_key[key_id] = [
                row for row in self._budgets.values() if row.api_key_id == key_id
            ]

    def read_reserved(self) -> None:
        """Read what is reserved of the users' and the keys' budgets."""
        lists = (*self._of_user.values(), *self._of_key.values())
        wanted = {row.pk: row for rows in lists for row in rows}
        if wanted:
            self._reserved = _reserved(list(wanted.values()))

    def drawn_on(self, user_id: int, key_id: int | None) -> list[Budget]:
        """Return the budgets that apply to a user with an API key, or without one."""
        of_key = [] if key_id is None else self._of_key.get(key_id, [])
        return [*self._of_user.get(user_id, []), *of_key]

    def reserve(
        self,
        budgets: Sequence[Budget],
        message_id: UUID,
        most: Usage,
        cost: Decimal | None,
    ) -> tuple[int, ...]:
        """Reserve what an answer uses at most; return the budgets that it draws on.

        `cost` is that of `most`, None where the provider's prices are not known.

        Raises: ChatError `budget_exceeded`, `price_not_configured`.
        """
        for budget in budgets:
            spent = budget.spent_at(self._now)
            if spent + self._reserved.get(budget.pk, 0) >= budget.limit:
                raise _exceeded(budget, self._now, is_spent=spent >= budget.limit)
            if budget.unit == Budget.Unit.DOLLARS and cost is None:
                raise refusal("price_not_configured")
        for budget in budgets:
            amount = _amount(budget, most, cost)
            self._reserved[budget.pk] = self._reserved.get(budget.pk, 0) + amount
            self._reservations.append(
                Reservation(budget=budget, message_id=message_id, amount=amount)
            )
        return tuple(budget.pk for budget in budgets)

    def settle(
        self,
        budget_ids: Sequence[int],
        message_id: UUID,
        usage: Usage,
        cost: Decimal | None,
    ) -> None:
        """Put what an answer has cost in the place of what was reserved for it."""
        if not budget_ids:
            return
        for budget in filter(None, map(self._budgets.get, budget_ids)):
            budget.spent = budget.spent_at(self._now) + _amount(budget, usage, cost)
            budget.period_start = budget.start_of_period(self._now)
            self._changed[budget.pk] = budget
        self._settled[message_id] = None

    def write_settled(self) -> None:
        """Store what was settled."""
        for budget in self._changed.values():
            budget.save(update_fields=["spent", "period_start"])
        if self._settled:
            release(self._settled)

    def write_reserved(self) -> None:
        """Store what was reserved."""
        if self._reservations:
            Reservation.objects.bulk_create(self._reservations)


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


def lock_of(user_ids: Collection[int]) -> None:
    """Lock the budgets of users and of their API keys, who are about to be deleted."""
    theirs = Q(user__in=user_ids) | Q(api_key__user__in=user_ids)
    idents = list(Budget.objects.filter(theirs).values_list("pk", flat=True))
    if idents:
        revise()  # which is locked before what it tells of
        list(_locked(Budget.objects.filter(pk__in=idents)).values_list("pk"))


def on_budget_delete(sender: Any, instance: Budget, **kwargs: Any) -> None:
    """Lock a budget; called by Django before it deletes the budget.

    Django deletes the reservations first, but an end locks the budget first.
    """
    list(_locked(Budget.objects.filter(pk=instance.pk)).values_list("pk"))


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
    whose = _whose(budget)
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


def _whose(budget: Budget) -> str:
    if budget.api_key_id is not None:
        return "The API key's"
    return "Your" if budget.group_id is None else "Your group's"
