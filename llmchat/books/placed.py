"""Finding an answer of any worker in the database, and what is stored of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone

from llmchat.books.sweep import sweep
from llmchat.books.workers import is_known_dead
from llmchat.models import Conversation, Message
from llmchat.models.workers import texts_so_far
from llmchat.providers.types import Usage

_State = Message.State
# A client that was away for longer, or has more answers, finds them in the
# conversation.
LATEST = timedelta(hours=12)
_LATEST_COUNT = 200


@dataclass(frozen=True, slots=True)
class AnswerIds:
    """The ids that a client gives for an answer; None means that it does not say."""

    message_id: UUID | None = None
    session_id: str | None = None
    conversation_id: UUID | None = None

    def are_of(self, session_id: str, message_id: UUID, conversation_id: UUID) -> bool:
        """Return whether an answer with these ids is meant."""
        return (
            self.session_id in (None, session_id)
            and self.message_id in (None, message_id)
            and self.conversation_id in (None, conversation_id)
        )


@dataclass(frozen=True, slots=True)
class PlacedAnswer:
    """An answer in the database; `is_lost` means its worker is known to be dead."""

    user_id: int
    message_id: UUID
    conversation_id: UUID
    question_id: UUID
    session_id: str
    provider: str
    model: str
    worker: str
    is_running: bool
    is_lost: bool


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What is stored of an answer: its text so far, or its end."""

    state: str
    text: str
    extra: str
    provider: str
    model: str
    finish_reason: str
    error_code: str
    usage: Usage | None
    cost: Decimal | None


def running_of(user_id: int) -> list[PlacedAnswer]:
    """Return the answers that are being written for a user, the oldest first."""
    rows = _placed(_running(user_id).order_by("created_at", "pk"))
    return [row for row in rows if not row.is_lost]


def find(
    user_id: int, ids: AnswerIds, ended_since: datetime | None
) -> PlacedAnswer | None:
    """Return the user's newest answer with these ids.

    A running answer is preferred to one that ended after `ended_since`; with None,
    ended answers are not considered.
    """
    rows = list(_placed(_running(user_id).order_by("-created_at")))
    if not rows or not _first(rows, ids):
        rows = list(_ended(user_id, ids, ended_since)) if ended_since else []
    return _first(rows, ids)


def stored_answer(user_id: int, message_id: UUID) -> StoredAnswer | None:
    """Return what is stored of an answer, or None if it no longer exists.

    If its worker has died, the answer is first marked as interrupted.
    """
    sweep(user_id)
    row = Message.objects.filter(pk=message_id, user_id=user_id).first()
    if row is None:
        return None
    text = row.content
    if row.state == _State.STREAMING:
        text = texts_so_far([message_id]).get(message_id, "")
    usage = None
    if row.output_tokens is not None:
        usage = _usage(row, row.output_tokens)
    return StoredAnswer(
        row.state,
        text,
        row.extra,
        row.provider,
        row.model,
        row.finish_reason,
        row.error_code,
        usage,
        row.cost,
    )


def latest_answers(user_id: int) -> list[UUID]:
    """Return the user's latest answers, the newest first, up to a limit.

    Replaced answers are left out.
    """
    since = timezone.now() - LATEST
    rows = Message.objects.filter(user_id=user_id, created_at__gt=since)
    answers = rows.filter(role=Message.Role.ASSISTANT, replaced_by__isnull=True)
    answers = answers.order_by("-created_at")
    return list(answers.values_list("pk", flat=True)[:_LATEST_COUNT])


def request_stop(message_id: UUID) -> None:
    """Mark an answer, so that its worker stops it at the next checkpoint."""
    rows = Message.objects.filter(pk=message_id, state=_State.STREAMING)
    rows.update(stop_requested=True)


def _usage(row: Message, outputs: int) -> Usage:
    source: Any = row.usage_source
    return Usage(
        row.input_tokens,
        outputs,
        source,
        row.reasoning_tokens or 0,
        row.cache_read_tokens or 0,
        row.cache_write_tokens or 0,
        row.cache_write_long_tokens or 0,
    )


def _running(user_id: int) -> QuerySet[Message]:
    # Every running answer has a session id. Saying so makes SQLite, too, use the index
    # of running answers.
    return Message.objects.filter(
        user_id=user_id, state=_State.STREAMING, session_id__gt=""
    )


def _ended(user_id: int, ids: AnswerIds, since: datetime) -> Iterator[PlacedAnswer]:
    rows = Message.objects.filter(finished_at__gt=since, replaced_by__isnull=True)
    if ids.message_id is not None:
        rows = rows.filter(pk=ids.message_id, user_id=user_id)
    else:
        # No index has the session ids of ended answers, but a user's latest
        # conversations are few.
        latest = Conversation.objects.filter(user_id=user_id, updated_at__gt=since)
        if ids.conversation_id is not None:
            latest = latest.filter(pk=ids.conversation_id)
        rows = rows.filter(conversation__in=latest.order_by().values("pk"))
    return _placed(rows.order_by("-finished_at"))


def _placed(rows: QuerySet[Message]) -> Iterator[PlacedAnswer]:
    # An answer's question is the message before it.
    questions = Message.objects.filter(
        conversation=OuterRef("conversation"), position=OuterRef("position") - 1
    )
    found = rows.annotate(question=Subquery(questions.values("pk")[:1]))
    names = ("user_id", "conversation_id", "session_id", "provider", "model", "worker")
    for row in found.values("pk", "question", "state", *names):
        fields: dict[str, Any] = {name: row[name] for name in names}
        yield PlacedAnswer(
            **fields,
            message_id=row["pk"],
            question_id=row["question"],
            is_running=row["state"] == _State.STREAMING,
            is_lost=is_known_dead(row["worker"]),
        )


def _first(rows: list[PlacedAnswer], ids: AnswerIds) -> PlacedAnswer | None:
    for row in rows:
        if ids.are_of(row.session_id, row.message_id, row.conversation_id):
            return row
    return None
