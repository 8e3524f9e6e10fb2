"""The text of running answers, in pieces to which only new ones are added."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from django.db import transaction

from llmchat.books.sql import Columns
from llmchat.books.turn import Progress, storable
from llmchat.models import Message, Piece

_PIECES = Columns(Piece, ["message_id", "start", "text", "written_at"])
_OF_MESSAGE = Columns(Piece, ["message_id"])
# The answers of this process that may have pieces; only their own process writes those.
_written: set[UUID] = set()


def add(progress: Sequence[Progress], now: datetime) -> None:
    """Store the new text of running answers."""
    _written.update(item.message_id for item in progress if item.text)
    _PIECES.insert(
        [
            {
                "message_id": item.message_id,
                "start": item.start,
                "text": storable(item.text),
                # The first piece has the time of the answer's first token.
                "written_at": now if item.start else item.first_token_at or now,
            }
            for item in progress
            if item.text
        ]
    )


def delete(message_ids: Sequence[UUID]) -> None:
    """Delete the pieces of answers whose whole text is stored."""
    _OF_MESSAGE.delete(message_ids)


def delete_written(message_ids: Sequence[UUID]) -> None:
    """Delete the pieces of this process's answers; short answers never had any."""
    written = _written.intersection(message_ids)
    if written:
        delete(list(written))
        transaction.on_commit(partial(_written.difference_update, written))


def forget_others(message_ids: Collection[UUID]) -> None:
    """Forget all answers but these; pieces that the others left are orphans."""
    _written.intersection_update(message_ids)


def delete_orphans() -> None:
    """Delete the pieces of answers that are not running any more."""
    running = Message.objects.filter(state=Message.State.STREAMING).order_by()
    Piece.objects.exclude(message_id__in=running.values("pk")).delete()
