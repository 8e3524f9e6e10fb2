"""Budgets: reserved before a provider is called, settled after the answer.

An answer may begin if anything is left of every budget that applies: those of its user,
of the user's groups and of the API key in use, and each default budget that none of the
user's own replaces. The most that the answer can cost is reserved in the same
transaction, under the row locks of the budgets. So concurrent answers cannot spend the
same remainder twice, and a budget is overdrawn by one answer at most. When the answer
ends, its cost replaces the reservation. `sweep` releases the reservations of dead
processes.

Lock order: the user, the conversation, the shared budgets by primary key, the budgets
of which each user has their own amount, what each user has used of those (`uses.py`),
the reservations. With a single order no two transactions deadlock. What else is locked
before and after these is in docs/architecture.md.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from llmchat.access import members, uses
from llmchat.access.accounts import Account, BudgetedAnswer, Notice
from llmchat.errors import ChatError, refusal
from llmchat.models import Budget, BudgetUse, Message, Reservation, spending
from llmchat.models.budgets import OF_EACH
from llmchat.models.revision import revise
from llmchat.providers.types import Usage

# Reserved for the answer if neither the client nor the provider's row sets a limit.
DEFAULT_OUTPUT_TOKENS = 4096
_RETRY_AFTER_RESERVED_S = 5
_ADJECTIVES = {Budget.Period.DAY: "daily", Budget.Period.MONTH: "monthly"}
_OWNERS = {"user": "Your", "group": "Your group's", "key": "The API key's"}
_NOUNS = {Budget.Unit.TOKENS: "token", Budget.Unit.DOLLARS: "money"}


class Ledger:
    """The locked budgets of a batch of starts and ends, until they are written.

    Reservations and settlements are first noted here, one answer after another.
    """

    def __init__(self) -> None:
        self._budgets: dict[int, Budget] = {}
        self._uses: dict[tuple[int, int], BudgetUse] = {}
        self._of_user: dict[int, list[Account]] = {}
        self._of_key: dict[int, list[Account]] = {}
        self._reserved: dict[tuple[int, int | None], Decimal] = {}
        self._reservations: list[Reservation] = []
        self._settled: dict[UUID, None] = {}
        self._of_each: Collection[int] = ()
        self._missed: list[tuple[int, UUID]] = []
        self._changed: dict[int, Budget] = {}
        self._used: dict[int, BudgetUse] = {}
        self._now = timezone.now()
        self._due: list[members.DueNotice] = []
        self.notices: dict[UUID, Notice] = {}

    def lock(
        self,
        members: Mapping[int, Set[int]],
        key_ids: Collection[int],
        drawn: Mapping[int, Collection[int]],
        *,
        of_each: bool,
    ) -> None:
        """Read and lock the budgets of users, of their groups, and of API keys.

        The same goes for the budgets that ended answers have drawn on: `drawn` has
        their ids by user. `of_each`: there are budgets of which each user has their
        own amount.
        """
        groups = set().union(*members.values())
        idents = set().union(*drawn.values())
        wanted = Q(user__in=members) | Q(group__in=groups) | Q(pk__in=idents)
        if key_ids:
            wanted |= Q(api_key__in=key_ids)
        shared = _locked(Budget.objects.filter(wanted).exclude(OF_EACH))
        self._budgets = {row.pk: row for row in shared}
        for user_id, theirs in members.items():
            self._of_user[user_id] = [
                Account(row)
                for row in self._budgets.values()
                if row.user_id == user_id or row.group_id in theirs
            ]
        for key_id in key_ids:
            self._of_key[key_id] = [
                Account(row)
                for row in self._budgets.values()
                if row.api_key_id == key_id
            ]
        # `of_each` is as old as this process's last reading of the rows. If a budget in
        # `drawn` is not among the shared ones, it may have ceased to be shared since.
        if of_each or not self._budgets.keys() >= idents:
            self._lock_of_each(members, groups, drawn, idents)
        # Taken under the locks: an answer that waits for them until after midnight
        # belongs to the new day.
        self._now = timezone.now()

    def _lock_of_each(
        self,
        members: Mapping[int, Set[int]],
        groups: Collection[int],
        drawn: Mapping[int, Collection[int]],
        idents: Collection[int],
    ) -> None:
        self._of_each = rows = uses.hold(groups, idents)
        if not rows:
            return
        starting = {
            user_id: uses.of(rows.values(), user_id, theirs, self._budgets.values())
            for user_id, theirs in members.items()
        }
        self._uses = uses.lock(rows, {*starting, *drawn}, starting)
        for user_id, budgets in starting.items():
            self._of_user[user_id] += [
                Account(row, self._uses[row.pk, user_id]) for row in budgets
            ]

    def read_reserved(self) -> None:
        """Read what is reserved in the budgets of the users and the keys."""
        lists = (*self._of_user.values(), *self._of_key.values())
        wanted = {account.budget.pk for accounts in lists for account in accounts}
        owners = {user_id for _, user_id in self._uses}
        if wanted:
            self._reserved = _reserved(wanted, owners)

    def drawn_on(self, user_id: int, key_id: int | None) -> list[Account]:
        """Return the budgets that apply to a user, with or without an API key."""
        of_key = [] if key_id is None else self._of_key.get(key_id, [])
        return [*self._of_user.get(user_id, []), *of_key]

    def reserve(
        self,
        accounts: Sequence[Account],
        message_id: UUID,
        most: Usage,
        cost: Decimal | None,
        *,
        of: str = "The model",
    ) -> tuple[int, ...]:
        """Reserve the most that an answer can use; return the ids of its budgets.

        `cost` is what `most` costs, None if the price is unknown. `of` names the model
        in the error.

        Raises: ChatError `budget_exceeded`, `price_not_configured`.
        """
        for account in accounts:
            budget, spent = account.budget, account.spent_at(self._now)
            if spent + self._reserved.get(account.key, 0) >= budget.limit:
                raise _exceeded(budget, self._now, is_spent=spent >= budget.limit)
            if budget.unit == Budget.Unit.DOLLARS and cost is None:
                raise _unpriced(of)
        for account in accounts:
            amount = _amount(account.budget, most, cost)
            self._reserved[account.key] = self._reserved.get(account.key, 0) + amount
            self._reservations.append(
                Reservation(
                    budget=account.budget,
                    owner_id=account.key[1],
                    message_id=message_id,
                    amount=amount,
                )
            )
        return tuple(account.budget.pk for account in accounts)

    def settle(self, begun: BudgetedAnswer, usage: Usage, cost: Decimal | None) -> None:
        """Replace what was reserved for an answer by what it has used."""
        if not begun.budgets:
            return
        for budget_id in begun.budgets:
            use = self._uses.get((budget_id, begun.user_id))
            budget = use.budget if use else self._budgets.get(budget_id)
            if budget is None:
                if budget_id not in self._of_each:
                    self._missed.append((budget_id, begun.message_id))
                continue  # a missing use is counted when the user next draws on it
            if use is None:
                self._changed[budget_id] = budget
            else:
                self._used[use.pk] = use
            amount = _amount(budget, usage, cost)
            account = Account(budget, use)
            if budget.shared_by == "group":
                spent = account.add(amount, self._now)
                if notice := account.notice_at(spent, self._now):
                    self._due.append(members.DueNotice(begun, budget, notice))
            elif notice := account.add_and_tell(amount, self._now):
                self._note(begun.message_id, notice)
        self._settled[begun.message_id] = None

    def _note(self, message_id: UUID, notice: Notice) -> None:
        """Keep the notice of the budget of which the least is left."""
        known = self.notices.get(message_id)
        if known is None or notice.percent > known.percent:
            self.notices[message_id] = notice

    def write_settled(self) -> None:
        """Store what was settled."""
        for row in (*self._changed.values(), *self._used.values()):
            row.save(update_fields=["spent", "period_start", "told_at"])
        for due in members.tell(self._due, self._now) if self._due else ():
            self._note(due.answer.message_id, due.notice)
        for budget_id, message_id in self._missed:
            _leave_to_sweep(budget_id, message_id)
        if self._settled:
            release(self._settled)

    def write_reserved(self) -> None:
        """Store what was reserved."""
        if self._reservations:
            Reservation.objects.bulk_create(self._reservations)


def _leave_to_sweep(budget_id: int, message_id: UUID) -> None:
    """Have a sweep settle an answer with a budget that its end did not find.

    Such a budget has just been changed from one for each member to a shared one. The
    query for shared budgets ran before the change, the other one after it, so it was in
    neither. If it was deleted instead, so were its reservations.
    """
    rows = Reservation.objects.filter(budget=budget_id, message_id=message_id)
    rows.update(is_late=True, owner_id=None)


def apply_to(user_id: int, key_id: int | None = None) -> bool:
    """Return whether any budget applies to a user, with or without an API key."""
    of_groups = Q(group__in=Group.objects.filter(user=user_id).values("pk"))
    wanted = Q(user_id=user_id) | Q(is_default=True) | of_groups
    if key_id is not None:
        wanted |= Q(api_key_id=key_id)
    return Budget.objects.filter(wanted).exists()


def release(message_ids: Iterable[UUID]) -> None:
    """Release the reservations of answers that will not be settled."""
    rows = Reservation.objects.filter(message_id__in=message_ids, is_late=False)
    rows.delete()


def has_reserved(message_id: UUID) -> bool:
    """Return whether an answer has reservations that are not settled yet."""
    rows = Reservation.objects.filter(message_id=message_id, is_late=False)
    return rows.exists()


def release_orphans() -> int:
    """Release reservations without a running answer; return how many.

    Reservations that an end is about to settle are locked, so they are skipped.
    """
    running = Message.objects.filter(state=Message.State.STREAMING).order_by()
    own = Reservation.objects.filter(is_late=False)
    orphans = own.exclude(message_id__in=running.values("pk"))
    with transaction.atomic():
        free = orphans.order_by("pk").select_for_update(skip_locked=True)
        idents = list(free.values_list("pk", flat=True))
        return Reservation.objects.filter(pk__in=idents).delete()[0]


def lock_of(user_ids: Collection[int]) -> None:
    """Lock the budgets of users about to be deleted, and those of their API keys.

    So are the users' amounts of budgets that each user has: Django deletes these too,
    but only after the caller has locked the sums of days, which an answer's end locks
    last.
    """
    theirs = Q(user__in=user_ids) | Q(api_key__user__in=user_ids)
    idents = list(Budget.objects.filter(theirs).values_list("pk", flat=True))
    if idents:
        revise()  # the revision is locked before the rows that it covers
        list(_locked(Budget.objects.filter(pk__in=idents)).values_list("pk"))
    _lock_uses(BudgetUse.objects.filter(user__in=user_ids))


def on_budget_delete(
    sender: Any, instance: Budget, origin: Any = None, **kwargs: Any
) -> None:
    """Lock a budget; called by Django before it deletes the budget.

    Django deletes the reservations first, but the end of an answer locks the budget
    first. Budgets that are deleted together are all locked here, in the common order.
    """
    rows = Budget.objects.filter(pk=instance.pk)
    if isinstance(origin, QuerySet) and origin.model is Budget:
        rows = Budget.objects.filter(pk__in=[row.pk for row in origin])
    list(_locked(rows.exclude(OF_EACH)).values_list("pk"))
    of_each = rows.filter(OF_EACH).select_for_update().order_by("pk")
    list(of_each.values_list("pk"))
    _lock_uses(BudgetUse.objects.filter(budget__in=rows.values("pk")))
    if instance.user_id is not None:
        spending.forget_use(instance.user_id, instance.period, instance.unit)


def _lock_uses(rows: QuerySet[BudgetUse]) -> None:
    """Lock rows that Django is about to delete, in the order of an answer's end."""
    list(rows.order_by("pk").select_for_update().values_list("pk"))


def _locked(budgets: QuerySet[Budget]) -> QuerySet[Budget]:
    return budgets.select_for_update(no_key=True).order_by("pk")


def _reserved(
    budgets: Collection[int], owners: Collection[int]
) -> dict[tuple[int, int | None], Decimal]:
    wanted = Q(budget__in=budgets, owner_id=None)
    if owners:
        wanted |= Q(budget__in=budgets, owner_id__in=owners)
    rows = Reservation.objects.filter(wanted).values_list("budget", "owner_id")
    return {(budget, owner): sum for budget, owner, sum in rows.annotate(Sum("amount"))}


def _amount(budget: Budget, usage: Usage, cost: Decimal | None) -> Decimal:
    if budget.unit == Budget.Unit.DOLLARS:
        return cost or Decimal(0)
    return Decimal((usage.input_tokens or 0) + usage.output_tokens)


def _unpriced(model: str) -> ChatError:
    """Return the error, which says what the user and an administrator can do."""
    error = refusal("price_not_configured", label=model)
    return refusal(
        error.code,
        text=f"{error.text}: choose another model, or ask an administrator to enter "
        "the price",
    )


def _exceeded(budget: Budget, now: datetime, *, is_spent: bool) -> ChatError:
    """Return the error; what is only reserved may soon be free again."""
    renews_at = budget.renews_at(now)
    whose = _OWNERS[budget.shared_by]
    period = _ADJECTIVES[Budget.Period(budget.period)]
    noun = _NOUNS[Budget.Unit(budget.unit)]
    state = "used up" if is_spent else "fully reserved by answers in progress"
    return refusal(
        "budget_exceeded",
        text=f"{whose} {period} {noun} budget is {state}; "
        f"it renews on {renews_at:%Y-%m-%d at %H:%M} UTC",
        retry_after=math.ceil((renews_at - now).total_seconds())
        if is_spent
        else _RETRY_AFTER_RESERVED_S,
    )
