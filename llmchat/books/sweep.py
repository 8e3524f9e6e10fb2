"""Marking the answers of processes that have died as interrupted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from llmchat.access import budgets, late
from llmchat.books import leases, pieces, totals
from llmchat.books.conversations import stored_hash
from llmchat.books.turn import LEASE, detail
from llmchat.books.workers import worker_id
from llmchat.models import Conversation, Message
from llmchat.models.revision import ensure_revision
from llmchat.models.workers import first_written_at, texts_of

_State = Message.State


@dataclass(frozen=True, slots=True)
class _Running:
    """An answer that is streaming according to the database."""

    id: UUID
    conversation_id: UUID
    worker: str
    created_at: datetime


def sweep(
    user_id: int | None = None, *, written: Collection[UUID] | None = None
) -> int:
    """Mark the answers of dead processes as interrupted; return how many there were.

    Without a user, it also tidies up the rest of the books.

    This process's own lease may have run out because the process was suspended, so its
    rows are left alone, except old ones that are not among `written`, which is
    everything that it is writing.
    """
    now = timezone.now()
    rows = Message.objects.filter(state=_State.STREAMING)
    if user_id is not None:
        rows = rows.filter(user_id=user_id)
    else:
        budgets.release_orphans()
        late.settle()
        pieces.delete_orphans()
        if written is not None:
            pieces.forget_others(written)
        leases.forget_old(now)
    running = _read(rows)
    known = leases.of_workers({row.worker for row in running})
    dead = [
        row
        for row in running
        if (
            _is_given_up(row, written, now)
            if row.worker == worker_id()
            else not leases.is_alive(row.worker, known.get(row.worker), now)
        )
    ]
    interrupted = sum(_interrupt(row) for row in dead)
    if user_id is None:
        ensure_revision()
    return interrupted


def _read(rows: QuerySet[Message]) -> list[_Running]:
    fields = ("pk", "conversation_id", "worker", "created_at")
    return [_Running(*row) for row in rows.order_by().values_list(*fields)]


def _is_given_up(
    row: _Running, written: Collection[UUID] | None, now: datetime
) -> bool:
    """Return whether an answer of this process is one that it is not writing."""
    is_old = row.created_at < now - LEASE
    return is_old and written is not None and row.id not in written


def _interrupt(row: _Running) -> int:
    with transaction.atomic():
        conversations = Conversation.objects.select_for_update(no_key=True)
        conversation = conversations.filter(pk=row.conversation_id).first()
        if row.worker != worker_id() and _lives_after_all(row.worker):
            return 0
        changed = _mark(row)
        if changed:
            budgets.release([row.id])
            pieces.delete([row.id])
        if conversation is not None and changed:
            conversation.thread_hash = stored_hash(row.conversation_id)
            totals.note_state(conversation)
            conversation.save(update_fields=["thread_hash", *totals.STATE_FIELDS])
    return changed


def _lives_after_all(worker: str) -> bool:
    lease_until = leases.of_workers([worker]).get(worker)
    return leases.is_alive(worker, lease_until, timezone.now())


def _mark(row: _Running) -> int:
    """Store what is known about an answer whose worker has died."""
    ident = row.id
    fields = {
        "state": _State.INTERRUPTED,
        "error_code": "interrupted",
        "error_detail": detail(
            f"Its worker {row.worker or '(unknown)'} is no longer running."
        ),
        "finished_at": timezone.now(),
    }
    if text := texts_of([ident]).get(ident):
        fields |= {"content": text, "first_token_at": first_written_at(ident)}
    rows = Message.objects.filter(pk=ident, state=_State.STREAMING)
    return rows.update(**fields)
