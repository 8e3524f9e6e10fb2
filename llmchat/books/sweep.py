"""The answers of processes that have died, marked as interrupted."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from llmchat.access import budgets
from llmchat.books import totals
from llmchat.books.conversations import stored_hash
from llmchat.books.workers import is_known_dead, worker_id
from llmchat.models import Conversation, Message

_State = Message.State


def sweep(user_id: int | None = None, *, own_before: datetime | None = None) -> int:
    """Mark the answers of dead processes as interrupted; return how many they were.

    A lease of this process's own may have run out because it was suspended, so its
    rows are left alone: but for those whose lease ended before `own_before`, when the
    leases of all that it writes were renewed.
    """
    rows = Message.objects.filter(state=_State.STREAMING)
    if user_id is not None:
        rows = rows.filter(user_id=user_id)
    else:
        budgets.release_orphans()
    now = timezone.now()
    fields = ("pk", "conversation_id", "worker", "lease_until")
    dead = [
        (pk, conversation_id, lease_until)
        for pk, conversation_id, worker, lease_until in rows.order_by().values_list(
            *fields
        )
        if _is_over(worker, lease_until, own_before, now)
    ]
    return sum(_interrupt(*row) for row in dead)


def _is_over(
    worker: str,
    lease_until: datetime | None,
    own_before: datetime | None,
    now: datetime,
) -> bool:
    if worker == worker_id():
        return bool(own_before and lease_until and lease_until < own_before)
    return lease_until is None or lease_until < now or is_known_dead(worker)


def _interrupt(
    message_id: UUID, conversation_id: UUID, lease_until: datetime | None
) -> int:
    with transaction.atomic():
        conversations = Conversation.objects.select_for_update(no_key=True)
        conversation = conversations.filter(pk=conversation_id).first()
        # Its lease has moved on: the worker lives after all.
        rows = Message.objects.filter(
            pk=message_id, state=_State.STREAMING, lease_until=lease_until
        )
        changed = rows.update(
            state=_State.INTERRUPTED,
            error_code="interrupted",
            finished_at=timezone.now(),
            lease_until=None,
        )
        if changed:
            budgets.release([message_id])
        if conversation is not None and changed:
            conversation.thread_hash = stored_hash(conversation_id)
            totals.note_state(conversation)
            conversation.save(update_fields=["thread_hash", *totals.STATE_FIELDS])
    return changed
