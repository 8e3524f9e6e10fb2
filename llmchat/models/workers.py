"""The processes that write answers, and the text of what they are writing."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db import models
from django.db.models.functions import Length

from llmchat.models.conversations import Message

M = TypeVar("M", bound=models.Model)


class Worker(models.Model):
    """A process that writes answers, and until when it is known to live.

    It keeps extending `lease_until`. An answer that is still `streaming` after that
    time belongs to a process that has died.
    """

    name = models.CharField(max_length=96, primary_key=True)
    lease_until = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Piece(models.Model):
    """A part of the text of a running answer, from its character `start` on.

    The end of an answer stores the whole text in place of its pieces; if its worker has
    died, the pieces are joined instead. They hold the answer's id rather than a foreign
    key, so that no checkpoint waits for a transaction that has locked the answer.
    """

    message_id = models.UUIDField(db_index=True)
    start = models.PositiveIntegerField()
    text = models.TextField()
    written_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{len(self.text)} characters of {self.message_id}"


def texts_of(message_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the texts so far of running answers.

    A piece whose COMMIT was not confirmed is stored again, together with the text that
    has arrived since. The later piece then takes the place of the earlier one.
    """
    texts: dict[UUID, str] = {}
    rows = Piece.objects.filter(message_id__in=message_ids).order_by("pk")
    for ident, start, text in rows.values_list("message_id", "start", "text"):
        texts[ident] = texts.get(ident, "")[:start] + text
    return texts


def texts_so_far(message_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the texts of answers that were running a moment ago.

    An answer that has ended since then has no pieces any more, but its whole text.
    """
    texts = texts_of(message_ids)
    missing = [ident for ident in message_ids if ident not in texts]
    if missing:
        rows = Message.objects.filter(pk__in=missing).values_list("pk", "content")
        texts.update(rows)
    return texts


def with_texts(rows: list[Message]) -> list[Message]:
    """Give the running answers among `rows` their texts so far."""
    running = [row.pk for row in rows if row.state == Message.State.STREAMING]
    texts = texts_so_far(running) if running else {}
    for row in rows:
        row.content = texts.get(row.pk, row.content)
    return rows


def first_written_at(message_id: UUID) -> datetime | None:
    """Return when a running answer's first token arrived, None if none is stored."""
    rows = Piece.objects.filter(message_id=message_id).order_by("pk")
    return rows.values_list("written_at", flat=True).first()


def with_length(answers: models.QuerySet[M]) -> models.QuerySet[Any]:
    """Annotate running answers with the `length` of their text so far."""
    pieces = Piece.objects.filter(message_id=models.OuterRef("pk")).order_by()
    end = pieces.values("message_id").annotate(
        end=models.Max(models.F("start") + Length("text"))
    )
    return answers.annotate(length=models.Subquery(end.values("end")))
