"""The REST API of a user's own usage and budgets."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from accounts.verified import Scope
from llmchat.api.async_view import AsyncAPIView, verified_of
from llmchat.api.decimals import plain
from llmchat.api.etags import json_with_etag
from llmchat.database import read_database
from llmchat.errors import refusal
from llmchat.models.budgets import today
from llmchat.reports.own_usage import BudgetStatus, DayOfUse, budgets_of, use_of

DEFAULT_DAYS = 30
MOST_DAYS = 366
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# Outside this range a day may have no day before it or after it.
_FIRST, _LAST = date(1970, 1, 1), date(9998, 12, 31)


class UsageView(AsyncAPIView):
    """`GET /llm/usage`: what the user has used, and what is left of each budget."""

    scopes = {"GET": Scope.USAGE}

    async def get(self, request: Request) -> HttpResponseBase:
        """Return the usage of the days `from` to `to`, by day and provider."""
        days = _days(request)
        sender = verified_of(request)
        data = await read_database(_usage, sender.user_id, sender.key_id, *days)
        return json_with_etag(request, data)


def _usage(user_id: int, key_id: int | None, first: date, last: date) -> dict[str, Any]:
    return {
        "results": [day_fields(row) for row in use_of(user_id, first, last)],
        "budgets": [budget_fields(row) for row in budgets_of(user_id, key_id)],
    }


def day_fields(row: DayOfUse) -> dict[str, Any]:
    """Return the usage of a day as REST clients see it."""
    return {
        "date": row.day.isoformat(),
        "provider": row.provider,
        "answers": row.answers,
        "inputTokens": row.input_tokens,
        "outputTokens": row.output_tokens,
        "cost": None if row.cost is None else plain(row.cost),
        "unpriced": row.unpriced,
    }


def budget_fields(row: BudgetStatus) -> dict[str, Any]:
    """Return a budget as REST clients see it; amounts are decimal strings."""
    budget = row.budget
    return {
        "period": budget.period,
        "unit": budget.unit,
        "limit": plain(budget.limit),
        "spent": plain(row.spent),
        "reserved": plain(row.reserved),
        "left": plain(row.left),
        "renewsAt": row.renews_at.isoformat(),
        "of": budget.shared_by,
        "noticePercent": budget.notice_percent,
        "notice": budget.calls_for_notice(row.spent),
    }


def _days(request: Request) -> tuple[date, date]:
    """Return the first and the last day of the query.

    Raises: ChatError `bad_request`.
    """
    last = _day(request, "to") or today()
    first = _day(request, "from") or last - timedelta(days=DEFAULT_DAYS - 1)
    if first > last:
        raise refusal("bad_request", text="from: must not be later than `to`")
    if (last - first).days >= MOST_DAYS:
        text = f"from: the range up to `to` must be at most {MOST_DAYS} days"
        raise refusal("bad_request", text=text)
    return first, last


def _day(request: Request, name: str) -> date | None:
    text = request.query_params.get(name, "")
    if not text:
        return None
    try:
        day = date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None or not _FIRST <= day <= _LAST:
        raise refusal("bad_request", text=f"{name}: must be a day such as 2026-01-31")
    return day
