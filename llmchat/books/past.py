"""Deleting answers without losing what they used.

The deleted rows are added up in the transaction that deletes them, and deleted
immediately, so that a repeated call, which Django makes for each user, finds nothing to
count twice.

Call it last of all that an answer's end locks. All answers of a day, provider and model
share a row of sums, so once a transaction holds one, it must wait for nothing that the
transaction of an end may hold. It may still write what it has locked before, new rows,
rows that no end touches, and the lease of its process.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncDate

from llmchat.books.sql import Columns, Row
from llmchat.models import Message, PastUse

_KEY = ("day", "provider", "model")
_SUMS = ("answers", "failures", "input_tokens", "output_tokens", "unpriced", "cost")
_COLUMNS = Columns(PastUse, [*_KEY, *_SUMS])
FAILED = (Message.State.ERROR, Message.State.INTERRUPTED)


def move(which: Q) -> int:
    """Delete messages and keep what their answers used; return how many were deleted.

    The caller has locked their conversations, so that no other transaction changes
    them. Answers that are still being written are counted at their end.
    """
    messages = Message.objects.filter(which).order_by()
    answers = messages.filter(role=Message.Role.ASSISTANT).exclude(provider="")
    ended = answers.exclude(state=Message.State.STREAMING)
    rows = (
        ended.annotate(day=TruncDate("created_at", tzinfo=UTC))
        .values_list(*_KEY)
        .annotate(
            count=Count("pk"),
            bad=Count("pk", filter=Q(state__in=FAILED)),
            read=Sum("input_tokens"),
            written=Sum("output_tokens"),
            unknown=Count("pk", filter=Q(cost=None)),
            dollars=Sum("cost"),
        )
    )
    add([dict(zip((*_KEY, *_SUMS), row, strict=True)) for row in rows])
    return messages.delete()[0]


def add(rows: Sequence[Row]) -> None:
    """Add to the sums of days, providers and models."""
    if not rows:
        return
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in _KEY)
        sum = sums.setdefault(key, dict(zip(_KEY, key, strict=True)))
        for name in _SUMS:
            nothing = Decimal(0) if name == "cost" else 0
            sum[name] = sum.get(name, nothing) + (row[name] or nothing)
    # In a fixed order, so that no two transactions wait for each other.
    _COLUMNS.insert([sums[key] for key in sorted(sums)], on_conflict=_adding())


def _adding() -> str:
    quote = connection.ops.quote_name
    table = quote(PastUse._meta.db_table)
    changes = (
        f"{name} = {table}.{name} + excluded.{name}" for name in map(quote, _SUMS)
    )
    key = ", ".join(map(quote, _KEY))
    return f" ON CONFLICT ({key}) DO UPDATE SET {', '.join(changes)}"
