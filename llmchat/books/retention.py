"""Deleting what is older than an operator wants to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet

from llmchat.books import past
from llmchat.models import Conversation, Message

BATCH = 500


def old_conversations(before: datetime) -> QuerySet[Conversation]:
    """Return the conversations whose last turn ended before that moment.

    A conversation whose answer is still being written is not old.
    """
    running = Message.objects.filter(state=Message.State.STREAMING)
    return Conversation.objects.filter(updated_at__lt=before).exclude(
        pk__in=running.values("conversation")
    )


def prune(
    before: datetime, *, batch: int = BATCH, note: Callable[[int], None]
) -> Iterator[tuple[int, int]]:
    """Delete old conversations with all their messages, each batch in a transaction.

    What they used stays in the totals. In each transaction, `note` is called with how
    many conversations it deletes.

    Yields how many conversations and messages each batch had. A conversation that is
    being continued at the same moment is left for later.
    """
    while True:
        with transaction.atomic():
            rows = old_conversations(before).select_for_update(skip_locked=True)
            ids = list(rows.order_by("updated_at").values_list("pk", flat=True)[:batch])
            messages = past.move(Q(conversation__in=ids))
            Conversation.objects.filter(pk__in=ids).delete()
            if ids:
                note(len(ids))
        if not ids:
            return
        yield len(ids), messages
