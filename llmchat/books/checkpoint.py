"""The text so far of the answers that a process writes, and their leases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from llmchat.books.turn import LEASE, Progress, storable
from llmchat.models import Message


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """Which answers a checkpoint has stored, and which of them are to be stopped."""

    stored: frozenset[UUID]
    to_stop: frozenset[UUID]


def checkpoint(progress: Sequence[Progress]) -> Checkpointed:
    """Store the text so far and renew the leases.

    To be stopped are the answers that an operator has stopped and those whose row is
    gone. A row that is locked by its end or its deletion is skipped: it is no longer
    the checkpoint's business, or the next one's.
    """
    wanted = {item.message_id for item in progress}
    rows = Message.objects.filter(pk__in=wanted)
    going = rows.filter(stop_requested=False).order_by().values_list("pk", flat=True)
    to_stop = frozenset(wanted.difference(going))
    with transaction.atomic():
        stored = _locked(rows.filter(state=Message.State.STREAMING))
        _write([item for item in progress if item.message_id in stored])
    return Checkpointed(stored, to_stop)


def _locked(rows: QuerySet[Message]) -> frozenset[UUID]:
    """Lock what is free, without ever waiting while rows are held."""
    free = rows.order_by("pk").select_for_update(skip_locked=True, no_key=True)
    return frozenset(free.values_list("pk", flat=True))


def _write(progress: Sequence[Progress]) -> None:
    """Write each row once.

    A row that its own transaction changes for the second time has its foreign keys
    checked again by PostgreSQL at COMMIT, which locks the conversation: behind the
    message, where every other transaction takes it before.
    """
    lease_until = timezone.now() + LEASE
    for item in progress:
        if item.text is not None:
            Message.objects.filter(pk=item.message_id).update(
                content=storable(item.text),
                first_token_at=item.first_token_at,
                lease_until=lease_until,
            )
    silent = [item.message_id for item in progress if item.text is None]
    Message.objects.filter(pk__in=silent).update(lease_until=lease_until)
