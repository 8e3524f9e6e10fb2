"""Questions that replace an earlier question and everything after it.

The replaced rows stay, because their costs count. They are no longer part of the
conversation, neither of what is read of it nor of its hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from llmchat.books.conversations import stored_hash
from llmchat.books.sql import Columns, idents, places
from llmchat.books.turn import Start
from llmchat.errors import refusal
from llmchat.models import Conversation, Message

# Without the texts, which can be of any size.
_ROWS = Columns(Message, ["conversation", "id", "position", "role", "state"])


@dataclass(frozen=True, slots=True)
class _ThreadMessage:
    id: UUID
    position: int
    role: str
    state: str


@dataclass(slots=True)
class Thread:
    """The messages of a conversation that are not replaced, in order."""

    messages: list[_ThreadMessage] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Cut:
    """From which position on a conversation is replaced, and by which position.

    `count` is how many messages are replaced; `thread_hash` is the hash of those before
    them.
    """

    conversation_id: UUID
    position: int
    replaced_by: int
    count: int
    thread_hash: str


def wanted(
    conversations: Mapping[UUID, Conversation], starts: Iterable[Start]
) -> list[UUID]:
    """Return those of the conversations in which these starts replace something."""
    found = set()
    for start in starts:
        ident = start.turn.conversation_id
        if start.turn.replaces is None or ident is None or ident not in conversations:
            continue
        if conversations[ident].user_id == start.user_id:
            found.add(ident)
    return sorted(found)


def read(conversation_ids: Sequence[UUID]) -> dict[UUID, Thread]:
    """Return the messages of these conversations, which the caller has locked."""
    threads = {ident: Thread() for ident in conversation_ids}
    if not threads:
        return threads
    sql = (
        f"SELECT {_ROWS.selected} FROM {_ROWS.table} "
        f"WHERE conversation_id IN ({places(conversation_ids)}) "
        "AND replaced_by IS NULL ORDER BY conversation_id, position"
    )
    for ident, *values in _ROWS.read(sql, idents(conversation_ids)):
        threads[ident].messages.append(_ThreadMessage(*values))
    return threads


def cut_of(
    thread: Thread,
    added: Iterable[Mapping[str, Any]],
    replaces: UUID,
    conversation: Conversation,
) -> Cut:
    """Return what a question replaces in the conversation that it belongs to.

    `added` are the messages that the same batch adds, to this conversation and others.

    Raises: ChatError `message_not_found`, `conversation_active`.
    """
    messages = thread.messages
    place = next((row for row in messages if row.id == replaces), None)
    if place is None or place.role != Message.Role.USER:
        raise refusal("message_not_found")
    if _is_running(messages, added, conversation):
        raise refusal("conversation_active")
    return Cut(
        conversation_id=conversation.pk,
        position=place.position,
        replaced_by=conversation.message_count,
        count=sum(row.position >= place.position for row in messages),
        # What this batch adds is neither stored yet nor replaced.
        thread_hash=stored_hash(conversation.pk, before=place.position),
    )


def _is_running(
    messages: Iterable[_ThreadMessage],
    added: Iterable[Mapping[str, Any]],
    conversation: Conversation,
) -> bool:
    """Return whether an answer is being written or begins in the same batch."""
    running = Message.State.STREAMING
    return any(row.state == running for row in messages) or any(
        row["conversation"] == conversation.pk and row["state"] == running
        for row in added
    )


def write(cuts: Iterable[Cut]) -> None:
    """Mark the rows that are replaced."""
    for cut in cuts:
        rows = Message.objects.filter(
            conversation_id=cut.conversation_id,
            position__gte=cut.position,
            replaced_by__isnull=True,
        )
        rows.update(replaced_by=cut.replaced_by)
