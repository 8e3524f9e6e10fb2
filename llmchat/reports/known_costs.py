"""What conversations have cost, if that is known.

A conversation's row holds the sum over its priced answers, which is 0 if there are
none: that does not mean that it was free.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

from django.db.models import Exists, OuterRef

from llmchat.models import Conversation, Message
from llmchat.reports.outcomes import ended


def known_costs(rows: Sequence[Conversation]) -> dict[UUID, Decimal | None]:
    """Return the cost of each, None if none of its answers has a known price."""
    unpriced = _unpriced([row.pk for row in rows if row.turn_count and not row.cost])
    return {row.pk: None if row.pk in unpriced else row.cost for row in rows}


def known_cost(row: Conversation) -> Decimal | None:
    """Return a conversation's cost, None if none of its answers has a known price."""
    return known_costs([row])[row.pk]


def _unpriced(idents: Sequence[UUID]) -> frozenset[UUID]:
    if not idents:
        return frozenset()
    answers = ended(Message.objects.filter(conversation=OuterRef("pk"))).order_by()
    found = Conversation.objects.filter(
        Exists(answers.filter(cost=None)),
        ~Exists(answers.filter(cost__isnull=False)),
        pk__in=idents,
    )
    return frozenset(found.order_by().values_list("pk", flat=True))
