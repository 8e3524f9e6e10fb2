"""Storing the progress of a process's answers, and finding those it has to stop.

A checkpoint takes one insert for all new text, one row for the lease of the process,
and one query for what operators have stopped or deleted. It does not touch the answers'
own rows, so it waits for no lock on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.utils import timezone

from llmchat.books import pieces
from llmchat.books.sql import Columns
from llmchat.books.turn import Checkpoint
from llmchat.books.workers import worker_id
from llmchat.models import Message

_RUNNING = Columns(Message, ["id", "stop_requested"])


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """Which answers are to be stopped."""

    to_stop: frozenset[UUID]


def write(item: Checkpoint) -> Checkpointed:
    """Store new text; the caller renews the lease, after all other locks are taken.

    The answers to stop are those that an operator has stopped, and those whose row is
    gone. An answer that another worker took for dead continues.
    """
    pieces.add(item.progress, timezone.now())
    running = _of_this_worker()
    wanted = {progress.message_id for progress in item.progress}
    to_stop = {ident for ident in wanted if running.get(ident)}
    if unknown := wanted.difference(running):
        rows = Message.objects.filter(pk__in=unknown, stop_requested=False)
        to_stop |= unknown.difference(rows.order_by().values_list("pk", flat=True))
    return Checkpointed(frozenset(to_stop))


def _of_this_worker() -> dict[UUID, bool]:
    """Return what this process is writing, and whether each answer is to be stopped."""
    sql = (
        f"SELECT {_RUNNING.selected} FROM {_RUNNING.table} "
        "WHERE worker = %s AND state = 'streaming'"
    )
    rows = _RUNNING.read(sql, [worker_id()])
    return {ident: bool(stop_requested) for ident, stop_requested in rows}
