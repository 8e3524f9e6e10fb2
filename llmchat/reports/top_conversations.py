"""The conversations whose answers of some days have cost most.

A conversation's row holds its total cost, which is the most that any part of it can
have cost. So only a few conversations have to be examined, the most expensive first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from llmchat.models import Conversation, Message
from llmchat.reports.day_totals import Sums
from llmchat.reports.outcomes import ended

_FIRST = 50
# How many are examined at most. The rest could only matter if thousands of
# conversations became expensive long ago and are still active.
_MOST = 5000


@dataclass(frozen=True, slots=True)
class CostlyConversation:
    """An expensive conversation, and the sums of its answers of these days."""

    id: UUID
    title: str
    username: str
    sums: Sums


def top_conversations(
    since: datetime, until: datetime, count: int
) -> list[CostlyConversation]:
    """Return the conversations that cost most from `since` until `until`."""
    active = Conversation.objects.filter(updated_at__gte=since, cost__gt=0)
    dearest = active.order_by("-cost", "pk").values_list("pk", "cost")
    found: list[tuple[UUID, Sums]] = []
    at, size = 0, _FIRST
    while at < _MOST:
        rows = list(dearest[at : at + size])
        found += _sums_of([pk for pk, _ in rows], since, until)
        found.sort(key=lambda pair: (-(pair[1].cost or 0), pair[0]))
        del found[count:]
        at += len(rows)
        if len(rows) < size or (len(found) == count and _is_dear(found, rows[-1][1])):
            break
        size = at
    return _named(found)


def _is_dear(found: list[tuple[UUID, Sums]], most: Decimal) -> bool:
    """Return whether no conversation with a total cost of `most` can be among these."""
    return (found[-1][1].cost or 0) >= most


def _sums_of(
    ids: list[UUID], since: datetime, until: datetime
) -> list[tuple[UUID, Sums]]:
    rows: QuerySet[Message] = ended(Message.objects.filter(conversation__in=ids))
    sums = (
        rows.filter(created_at__gte=since, created_at__lt=until)
        .order_by()
        .values("conversation")
        .annotate(
            answers=Count("pk"),
            unpriced=Count("pk", filter=Q(cost=None)),
            tokens_in=Coalesce(Sum("input_tokens"), 0),
            tokens_out=Coalesce(Sum("output_tokens"), 0),
            dollars=Sum("cost"),
        )
        .filter(dollars__gt=0)
        .values_list(
            "conversation", "answers", "unpriced", "tokens_in", "tokens_out", "dollars"
        )
    )
    return [(row[0], Sums(*row[1:])) for row in sums]


def _named(found: list[tuple[UUID, Sums]]) -> list[CostlyConversation]:
    rows = Conversation.objects.filter(pk__in=[pk for pk, _ in found])
    names = {
        pk: (title, username)
        for pk, title, username in rows.values_list("pk", "title", "user__username")
    }
    return [
        CostlyConversation(pk, *names[pk], sums) for pk, sums in found if pk in names
    ]
