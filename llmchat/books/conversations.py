"""Conversations found by what was said in them.

The documented client knows no conversation id: it sends its whole history with each
turn. Every conversation therefore carries a hash of its messages, which is extended
with each message, and the hash of an incoming history finds it in one indexed query.

An answer counts with the text that was sent, however it ended, because that is what the
client put into its history. An answer without any text does not count, because the
client has none either. An answer counts only once it has ended. Images and tool calls
count as they are stored (`extra.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS
from django.utils import timezone

from llmchat.books.extra import extra_of
from llmchat.books.ids import new_id
from llmchat.books.sql import Columns
from llmchat.books.turn import KnownHistory, Start, Turn
from llmchat.errors import refusal
from llmchat.models import Conversation, Message
from llmchat.providers.types import ChatMessage

_TITLE_LENGTH = 80
# For a title that a user gives.
TITLE_LENGTH = 120
_BATCH = 200
_UNANSWERED = ("user", "tool")
COLUMNS = Columns(Conversation, (field.name for field in Conversation._meta.fields))


def extended_hash(thread_hash: str, role: str, content: str, extra: str = "") -> str:
    """Return the hash of a history whose hash is `thread_hash` and one more message.

    The hash of the empty history is the empty string.
    """
    # Roles contain neither NUL nor a plus, and JSON text contains no NUL, so no two
    # histories give the same bytes.
    text = f"{thread_hash}{role}\0{content}"
    if extra:
        text = f"{thread_hash}{role}+{extra}\0{content}"
    return hashlib.sha256(text.encode()).hexdigest()


def history_hash(messages: Iterable[tuple[str, str] | tuple[str, str, str]]) -> str:
    """Return the hash of (role, content) or (role, content, extra) messages."""
    thread_hash = ""
    for message in messages:
        thread_hash = extended_hash(thread_hash, *message)
    return thread_hash


def stored_hash(conversation_id: UUID, *, before: int | None = None) -> str:
    """Return the hash of a conversation as it is stored, up to a position if given."""
    messages = (
        Message.objects.filter(
            conversation_id=conversation_id, replaced_by__isnull=True
        )
        .exclude(state=Message.State.STREAMING)
        .exclude(content="", extra="")
        .order_by("position")
        .values_list("role", "content", "extra")
    )
    if before is not None:
        messages = messages.filter(position__lt=before)
    return history_hash(messages.iterator(chunk_size=_BATCH))


def start_of(user_id: int, turn: Turn, key_id: int | None = None) -> Start:
    """Return the start of a turn, with the hashes that its stored history may have."""
    hashes = [""]
    for message in turn.messages:
        hashes.append(_extended(hashes[-1], message))
    lengths = _known_lengths(turn) if turn.conversation_id is None else []
    known = tuple(KnownHistory(length, hashes[length]) for length in lengths)
    return Start(user_id, turn, known, hashes[-1], key_id)


def _extended(thread_hash: str, message: ChatMessage) -> str:
    return extended_hash(thread_hash, message.role, message.content, extra_of(message))


def _known_lengths(turn: Turn) -> list[int]:
    """Return how many of the messages may be stored already, the likeliest first.

    Normally that is all but the last. But a turn that was refused left its message only
    in the client's history, and an answer may have several tool results after it, so
    the history without its unanswered messages is looked for as well.
    """
    if turn.stored:
        return [turn.stored]
    whole = answered = len(turn.messages) - 1
    while answered and turn.messages[answered - 1].role in _UNANSWERED:
        answered -= 1
    return [length for length in dict.fromkeys((whole, answered)) if length]


def found(
    conversations: Mapping[UUID, Conversation], start: Start
) -> tuple[Conversation, Sequence[ChatMessage]] | None:
    """Return which of `conversations` a turn continues, and its new messages.

    Raises: ChatError `conversation_not_found`.
    """
    turn = start.turn
    if turn.conversation_id is not None:
        named = conversations.get(turn.conversation_id)
        if named is None or named.user_id != start.user_id:
            raise refusal("conversation_not_found")
        return named, _latest(turn.messages)
    for known in start.known:
        same = [
            row
            for row in conversations.values()
            if row.thread_hash == known.hash and row.user_id == start.user_id
        ]
        if same:
            latest = max(same, key=lambda row: row.updated_at)
            return latest, turn.messages[known.length :]
    return None


def _latest(messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
    """Return the user's message, or the tool results after the last answer."""
    first = len(messages) - 1
    while first and messages[first - 1].role in _UNANSWERED:
        first -= 1
    behind = messages[first:]
    return behind if any(m.role == "tool" for m in behind) else messages[-1:]


def new_conversation(start: Start, now: datetime) -> Conversation:
    """Return a new conversation that begins with a turn; it is not stored yet."""
    values = _DEFAULTS | {
        "id": new_id(),
        "user": start.user_id,
        "title": title_of(start.turn),
        "created_at": now,
        "updated_at": now,
    }
    return conversation_of([values[name] for name in COLUMNS.names])


_DEFAULTS = {
    field.name: field.get_default()
    for field in Conversation._meta.fields
    if not field.is_relation
}


def conversation_of(row: Sequence[Any]) -> Conversation:
    """Return the conversation of a row of `COLUMNS`.

    The row holds all columns in the model's order, which is cheaper than passing names.
    """
    return Conversation.from_db(DEFAULT_DB_ALIAS, COLUMNS.names, row)


def title_of(turn: Turn) -> str:
    """Return the title of a conversation that begins with a turn."""
    first = next((m.content for m in turn.messages if m.role == "user"), "")
    title = " ".join(first[: 4 * _TITLE_LENGTH].split())
    if len(title) > _TITLE_LENGTH:
        title = title[: _TITLE_LENGTH - 1] + "…"
    return title


def empty_conversation(user_id: int, title: str) -> Conversation:
    """Return a conversation without messages; it is not stored yet.

    A turn has to name it, since no history leads to it.
    """
    now = timezone.now()
    return Conversation(
        id=new_id(), user_id=user_id, title=title, created_at=now, updated_at=now
    )


def goes_on(
    conversation: Conversation, start: Start, messages: Sequence[ChatMessage]
) -> None:
    """Append a turn's new messages; the caller stores them and the conversation."""
    if start.turn.conversation_id is None:
        conversation.thread_hash = start.thread_hash
    else:
        for message in messages:
            conversation.thread_hash = _extended(conversation.thread_hash, message)
    conversation.message_count += len(messages)
    conversation.provider = start.turn.provider
