"""Which members of a group have been notified that its budget is nearly used up.

If a group shares a budget, each member is notified once a period: when the first of
their answers ends after the threshold is reached, no matter whose answer reached it.
What a member was told is recorded in a `BudgetUse` row that holds no spending. The row
is read and written only under the lock of the budget.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth import get_user_model
from django.db import connection

from llmchat.access.accounts import BudgetedAnswer, Notice
from llmchat.models import Budget, BudgetUse


@dataclass(frozen=True, slots=True)
class DueNotice:
    """A notice of a group's budget, for the user of an answer that has ended."""

    answer: BudgetedAnswer
    budget: Budget
    notice: Notice

    @property
    def key(self) -> tuple[int, int]:
        """Return the ids of the budget and of the user to notify."""
        return self.budget.pk, self.answer.user_id


def tell(dues: Sequence[DueNotice], now: datetime) -> Iterator[DueNotice]:
    """Yield the notices that their users have not had yet, and record them as given."""
    known = _uses_of(dues)
    untold = [due for due in dues if not _has_heard(known.get(due.key), due, now)]
    if not untold:
        return
    present = _held({due.answer.user_id for due in untold})
    first = {due.key: due for due in reversed(untold) if due.key[1] in present}
    BudgetUse.objects.bulk_create(
        [
            BudgetUse(
                budget=due.budget,
                user_id=due.answer.user_id,
                period_start=due.budget.start_of_period(now),
                told_at=due.budget.notice_amount,
            )
            for _, due in sorted(first.items())
        ],
        update_conflicts=True,
        unique_fields=["budget", "user"],
        update_fields=["period_start", "told_at"],
    )
    yield from first.values()


def _uses_of(dues: Sequence[DueNotice]) -> dict[tuple[int, int], BudgetUse]:
    rows = BudgetUse.objects.filter(
        budget__in={due.budget.pk for due in dues},
        user__in={due.answer.user_id for due in dues},
    )
    return {(row.budget_id, row.user_id): row for row in rows}


def _has_heard(row: BudgetUse | None, due: DueNotice, now: datetime) -> bool:
    """Return whether a member was notified this period, at the current threshold."""
    return (
        row is not None
        and row.period_start == due.budget.start_of_period(now)
        and row.told_at == due.budget.notice_amount
    )


def _held(user_ids: Collection[int]) -> set[int]:
    """Return those users who cannot be deleted before the transaction ends.

    A user who is being deleted right now is skipped: that deletion may be waiting for
    this transaction, so this transaction must not wait for it.
    """
    users = get_user_model()._default_manager
    rows = users.filter(pk__in=user_ids).order_by("pk").only("pk")
    if not connection.features.has_select_for_no_key_update:
        return {user.pk for user in rows}
    sql, parameters = rows.query.sql_with_params()
    held = users.raw(f"{sql} FOR KEY SHARE SKIP LOCKED", parameters)
    return {user.pk for user in held}
