"""How much of a budget is spent, as a bar with its figures."""

from __future__ import annotations

from decimal import Decimal

from django.utils.formats import number_format
from django.utils.html import format_html

from llmchat.admin.base import dollars
from llmchat.models import Budget


def shown(budget: Budget, amount: Decimal) -> str:
    """Return an amount in the unit of a budget."""
    if budget.unit == Budget.Unit.DOLLARS:
        return dollars(amount)
    return number_format(amount, decimal_pos=0, use_l10n=True, force_grouping=True)


def bar(budget: Budget, spent: Decimal, words: str = "") -> str:
    """Return a bar and, for those who cannot see it, the same in words."""
    percent = 100 if not budget.limit else int(100 * spent / budget.limit)
    figures = f"{shown(budget, spent)} of {shown(budget, budget.limit)} ({percent}%)"
    text = ", ".join(part for part in (figures, words, _state(budget, spent)) if part)
    return format_html(
        '<span class="llm-progress"><progress max="100" value="{}" aria-label="{}">'
        "</progress> {}</span>",
        min(percent, 100),
        "Used",
        text,
    )


def _state(budget: Budget, spent: Decimal) -> str:
    if spent >= budget.limit:
        return "used up"
    return "nearly used up" if budget.calls_for_notice(spent) else ""
