"""API keys over REST: what a client may ask for, and how it sees them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone

from accounts.key_text import has_controls
from accounts.models import ApiKey
from accounts.verified import Scope
from llmchat.api.decimals import plain
from llmchat.api.validation import UNSTORABLE, Field, Fields, Unfit, validated
from llmchat.errors import ChatError
from llmchat.models import Budget
from llmchat.models.budgets import HIGHEST

NAME_LENGTH = 100
MOST_PER_MINUTE = 1_000_000
# Stricter than Python: no spaces, and no exponent, which could mean more digits than
# PostgreSQL takes.
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_STEP = Decimal("0.000001")


def _name(data: Any) -> str:
    name = " ".join(data.split()) if isinstance(data, str) else ""
    if not 1 <= len(name) <= NAME_LENGTH:
        raise Unfit(f" must be a string of 1 to {NAME_LENGTH} characters")
    if UNSTORABLE.search(name) or has_controls(name):
        raise Unfit(" contains a character that is not allowed")
    return name


def _scopes(data: Any) -> str:
    """Take a list of scopes; return them as they are stored."""
    is_list = isinstance(data, list) and bool(data)
    if not is_list or any(scope not in Scope.values for scope in data):
        raise Unfit(f" must be a list of one or more of {', '.join(Scope.values)}")
    return " ".join(scope for scope in Scope.values if scope in data)


def _moment(data: Any) -> datetime:
    """Take a time in the future, with its zone; return it in UTC."""
    try:
        moment = datetime.fromisoformat(data)
        in_utc = moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as exc:
        raise Unfit(" must be a time such as 2030-01-31T12:00:00Z") from exc
    if moment.tzinfo is None:
        raise Unfit(" must have a time zone, such as Z for UTC")
    if in_utc <= timezone.now():
        raise Unfit(" must be in the future")
    return in_utc


def _per_minute(data: Any) -> int:
    is_whole = isinstance(data, int) and not isinstance(data, bool)
    if not is_whole or not 1 <= data <= MOST_PER_MINUTE:
        raise Unfit(f" must be a whole number from 1 to {MOST_PER_MINUTE}")
    return int(data)


def _amount(data: Any) -> Decimal:
    """Take a number, or a string of digits as this API returns amounts."""
    is_number = isinstance(data, int | float) and not isinstance(data, bool)
    is_text = isinstance(data, str) and _NUMBER.fullmatch(data) is not None
    amount = Decimal(str(data)) if is_number or is_text else Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= HIGHEST:
        raise Unfit(f" must be a number from 0 to {HIGHEST}")
    stored = amount.quantize(_STEP)
    if amount != stored:
        raise Unfit(" must not have more than 6 decimal places")
    return stored


def _unit(data: Any) -> str:
    if data not in Budget.Unit.values:
        raise Unfit(f" must be {' or '.join(Budget.Unit.values)}")
    return str(data)


def _period(data: Any) -> str:
    if data not in Budget.Period.values:
        raise Unfit(f" must be {' or '.join(Budget.Period.values)}")
    return str(data)


_BUDGET_FIELDS: Fields = {
    "period": Field(_period, is_required=True, may_be_null=False),
    "unit": Field(_unit, is_required=True, may_be_null=False),
    "limit": Field(_amount, is_required=True, may_be_null=False),
}


def _budgets(data: Any) -> list[Budget]:
    """Take budgets, no two of the same period and unit; return unsaved rows."""
    if not isinstance(data, list):
        raise Unfit(" must be a list")
    rows: dict[tuple[str, str], Budget] = {}
    for index, item in enumerate(data):
        try:
            fields = validated(_BUDGET_FIELDS, item)
        except ChatError as exc:
            raise Unfit(f"[{index}]: {exc.text}") from exc
        what = fields["period"], fields["unit"]
        if what in rows:
            raise Unfit(" must not have two budgets with the same period and unit")
        rows[what] = Budget(**fields)
    return list(rows.values())


# The body of `POST /auth/keys`.
KEY_FIELDS: Fields = {
    "name": Field(_name, is_required=True, may_be_null=False),
    "scopes": Field(_scopes, is_required=True, may_be_null=False),
    "expiresAt": Field(_moment),
    "messagesPerMinute": Field(_per_minute),
    "budgets": Field(_budgets),
}


def shown_keys(user_id: int) -> list[dict[str, Any]]:
    """Return the keys of a user, the latest first."""
    rows = ApiKey.objects.filter(user_id=user_id).prefetch_related("budgets")
    return [shown(row) for row in rows]


def shown(row: ApiKey) -> dict[str, Any]:
    """Return a key as its user sees it; the secret itself was shown only once."""
    return {
        "id": row.pk,
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes.split(),
        "state": row.state.value,
        "messagesPerMinute": row.messages_per_minute,
        "budgets": [_shown_budget(budget) for budget in row.budgets.all()],
        "createdAt": row.created_at.isoformat(),
        "expiresAt": _iso(row.expires_at),
        "lastUsedAt": _iso(row.last_used_at),
        "revokedAt": _iso(row.revoked_at),
    }


def _shown_budget(budget: Budget) -> dict[str, Any]:
    now = timezone.now()
    return {
        "period": budget.period,
        "unit": budget.unit,
        "limit": plain(budget.limit),
        "spent": plain(budget.spent_at(now)),
        "renewsAt": budget.renews_at(now).isoformat(),
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
