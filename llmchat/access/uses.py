"""Budgets of which each user has their own amount, and what each user has used.

Such a budget is one row for all users, so answers do not lock it against each other.
Each locks the `BudgetUse` row of its own user instead, and holds the budget itself only
against being deleted or given another owner, period or unit. A `BudgetUse` row is made
by the start of an answer, which has locked its user, so no other transaction makes the
same row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set

from django.db import connection
from django.db.models import Q

from llmchat.models import Budget, BudgetUse, spending

Uses = dict[tuple[int, int], BudgetUse]


def hold(groups: Collection[int], idents: Collection[int]) -> dict[int, Budget]:
    """Read the default budgets, and the per-member ones of `groups` and in `idents`.

    They are held until the transaction ends, but other transactions can hold them too.
    """
    wanted = (
        Q(is_default=True)
        | Q(per_member=True, group__in=groups)
        | Q(per_member=True, pk__in=idents)
    )
    rows: Iterable[Budget] = (found := Budget.objects.filter(wanted).order_by("pk"))
    if connection.features.has_select_for_no_key_update:
        sql, parameters = found.query.sql_with_params()
        rows = Budget.objects.raw(f"{sql} FOR KEY SHARE", parameters)
    return {row.pk: row for row in rows}


def of(
    rows: Iterable[Budget], user_id: int, groups: Set[int], others: Iterable[Budget]
) -> list[Budget]:
    """Return those of `rows` that apply to a user.

    A budget of the user's own replaces the default one of its period and unit.
    """
    own = {(row.period, row.unit) for row in others if row.user_id == user_id}
    return [
        row
        for row in rows
        if (row.group_id in groups if row.per_member else _what(row) not in own)
    ]


def _what(row: Budget) -> tuple[str, str]:
    return row.period, row.unit


def lock(
    rows: Mapping[int, Budget],
    user_ids: Collection[int],
    starting: Mapping[int, Sequence[Budget]],
) -> Uses:
    """Lock the `BudgetUse` rows of users, and make those that `starting` lacks.

    What a row does not count yet is counted here.
    """
    found = BudgetUse.objects.filter(budget__in=rows, user__in=user_ids).order_by("pk")
    known: Uses = {}
    for use in found.select_for_update(no_key=True):
        use.budget = rows[use.budget_id]
        known[use.budget_id, use.user_id] = use
        if use.period_start is None:
            spending.count_use(use)
            use.save(update_fields=["spent", "period_start", "told_at"])
    for user_id, budgets in starting.items():
        for budget in budgets:
            if (budget.pk, user_id) not in known:
                use = BudgetUse(budget=budget, user_id=user_id)
                spending.count_use(use)
                use.save(force_insert=True)
                known[budget.pk, user_id] = use
    return known
