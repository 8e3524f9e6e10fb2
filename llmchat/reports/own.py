"""What users can read of their own conversations, a page at a time."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar
from uuid import UUID

from django.db.models import Q, QuerySet

from llmchat.errors import refusal
from llmchat.models import Conversation, Message
from llmchat.models.workers import with_texts
from llmchat.reports.search import matching

PAGE = 50
MOST_CONVERSATIONS = 200
MOST_MESSAGES = 1000
_READ_AT_ONCE = 100

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows, and the cursor of the next page, None after the last row."""

    rows: Sequence[Row]
    cursor: str | None


def conversations_of(
    user_id: int, *, search: str = "", cursor: str = "", limit: int = PAGE
) -> Page[Conversation]:
    """Return a page of a user's conversations, the latest first.

    Raises: ChatError `bad_request`, for a cursor that is not from one of these pages.
    """
    rows = Conversation.objects.filter(user_id=user_id)
    if search.strip():
        rows = matching(rows, search, user_id=user_id)
    if cursor:
        moment, ident = _place(cursor)
        rows = rows.filter(
            Q(updated_at__lt=moment) | Q(updated_at=moment, pk__lt=ident)
        )
    found = list(rows.order_by("-updated_at", "-pk")[: limit + 1])
    return _page(found, limit, lambda row: f"{row.updated_at.isoformat()} {row.pk}")


def conversation_of(user_id: int, ident: str) -> Conversation:
    """Return a user's conversation.

    Raises: ChatError `conversation_not_found`, also for another user's conversation.
    """
    row = owned(user_id, ident).first()
    if row is None:
        raise refusal("conversation_not_found")
    return row


def owned(user_id: int, ident: str) -> QuerySet[Conversation]:
    """Return a query for the conversation with that id, if it is the user's."""
    try:
        return Conversation.objects.filter(user_id=user_id, pk=UUID(ident))
    except ValueError:
        return Conversation.objects.none()


def messages_of(
    conversation: Conversation,
    *,
    cursor: str = "",
    limit: int = MOST_MESSAGES,
    replaced: bool = False,
) -> Page[Message]:
    """Return a page of a conversation's messages, the first one first.

    An answer that is being written has its text so far. `replaced` adds the messages
    that are no longer part of the conversation.

    Raises: ChatError `bad_request`, for a cursor that is not from one of these pages.
    """
    rows = Message.objects.filter(conversation=conversation).order_by("position")
    if not replaced:
        rows = rows.filter(replaced_by__isnull=True)
    if cursor:
        rows = rows.filter(position__gt=_position(cursor))
    found = with_texts(list(rows[: limit + 1]))
    return _page(found, limit, lambda row: str(row.position))


def all_conversations_of(user_id: int) -> Iterator[Conversation]:
    """Yield a user's conversations, by key, so that concurrent turns skip none."""
    rows = Conversation.objects.filter(user_id=user_id).order_by("pk")
    batch = list(rows[:PAGE])
    while batch:
        yield from batch
        batch = list(rows.filter(pk__gt=batch[-1].pk)[:PAGE])


def all_messages_of(conversation: Conversation) -> Iterator[Message]:
    """Yield a conversation's messages, including replaced ones, read in pages."""
    cursor: str | None = ""
    while cursor is not None:
        page = messages_of(
            conversation, cursor=cursor, limit=_READ_AT_ONCE, replaced=True
        )
        yield from page.rows
        cursor = page.cursor


def messages_until(user_id: int, message_id: UUID) -> list[Message]:
    """Return a user's conversation up to an answer, the first message first.

    It is the history that was answered then, even if parts of it have been replaced
    since. The list is empty if the user has no such answer.
    """
    answer = Message.objects.filter(
        pk=message_id, conversation__user_id=user_id, role=Message.Role.ASSISTANT
    ).first()
    if answer is None:
        return []
    rows = Message.objects.filter(
        Q(replaced_by__isnull=True) | Q(replaced_by__gt=answer.position),
        conversation_id=answer.conversation_id,
        position__lte=answer.position,
    )
    return with_texts(list(rows.order_by("position")))


def _page(found: Sequence[Row], limit: int, place: Callable[[Row], str]) -> Page[Row]:
    rows = found[:limit]
    is_last = len(found) <= limit
    return Page(rows, None if is_last else _encoded(place(rows[-1])))


def _encoded(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _decoded(cursor: str) -> str:
    padded = cursor.encode() + b"=" * (-len(cursor) % 4)
    return base64.b64decode(padded, b"-_", validate=True).decode()


def _place(cursor: str) -> tuple[datetime, UUID]:
    try:
        moment, ident = _decoded(cursor).split(" ")
        # The first and last moments of the calendar might not exist in UTC.
        return datetime.fromisoformat(moment).astimezone(UTC), UUID(ident)
    except (ValueError, OverflowError, binascii.Error) as exc:
        raise _bad_cursor() from exc


def _position(cursor: str) -> int:
    try:
        position = int(_decoded(cursor))
    except (ValueError, binascii.Error) as exc:
        raise _bad_cursor() from exc
    if not 0 <= position < 2**31:
        raise _bad_cursor()
    return position


def _bad_cursor() -> Exception:
    return refusal("bad_request", text="cursor: must be one that this list returned")
