"""Conversations found by what was said in them.

The documented client knows no conversation id: it sends its whole history with each
turn. Every conversation therefore carries a hash of its messages, extended with each
one, and the hash of the history that comes in finds it in one indexed query.

An answer counts with the text that was sent, whatever became of it, because that is
what the client put into its history; an answer without any text does not count,
because the client has none either. An answer counts only once it has ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from uuid import UUID

from django.utils import timezone

from llmchat.books.turn import Turn
from llmchat.errors import refusal
from llmchat.models import Conversation, Message
from llmchat.providers.types import ChatMessage

_TITLE_LENGTH = 80
_BATCH = 200


def extended_hash(thread_hash: str, role: str, content: str) -> str:
    """Return the hash of a history whose hash is `thread_hash` and one more message.

    The hash of the empty history is the empty string.
    """
    # Roles hold no NUL, so no two histories give the same bytes.
    text = f"{thread_hash}{role}\0{content}"
    return hashlib.sha256(text.encode()).hexdigest()


def history_hash(messages: Iterable[tuple[str, str]]) -> str:
    """Return the hash of a history given as (role, content) pairs."""
    thread_hash = ""
    for role, content in messages:
        thread_hash = extended_hash(thread_hash, role, content)
    return thread_hash


def stored_hash(conversation_id: UUID) -> str:
    """Return the hash of a conversation as it is stored."""
    messages = (
        Message.objects.filter(conversation_id=conversation_id)
        .exclude(state=Message.State.STREAMING)
        .exclude(content="")
        .order_by("position")
        .values_list("role", "content")
    )
    return history_hash(messages.iterator(chunk_size=_BATCH))


def open_conversation(user_id: int, turn: Turn) -> Conversation:
    """Return the conversation that `turn` goes on with, its new messages appended.

    The caller saves it, which for a new one is the only write.

    Raises: ChatError `conversation_not_found`.
    """
    conversation, new_messages = _found(user_id, turn) or (
        _new_conversation(user_id, turn),
        turn.messages,
    )
    conversation.provider = turn.provider
    conversation.updated_at = timezone.now()
    conversation.thread_hash = _appended(conversation, new_messages)
    conversation.message_count += len(new_messages)
    return conversation


def _found(
    user_id: int, turn: Turn
) -> tuple[Conversation, Sequence[ChatMessage]] | None:
    # No key of it changes: whoever refers to it need not wait.
    locked = Conversation.objects.select_for_update(no_key=True)
    own = locked.filter(user_id=user_id)
    if turn.conversation_id is not None:
        named = own.filter(pk=turn.conversation_id).first()
        if named is None:
            raise refusal("conversation_not_found")
        return named, turn.messages[-1:]
    for length in _known_lengths(turn.messages):
        thread_hash = history_hash((m.role, m.content) for m in turn.messages[:length])
        same = own.filter(thread_hash=thread_hash).order_by("-updated_at").first()
        if same is not None:
            return same, turn.messages[length:]
    return None


def _known_lengths(messages: Sequence[ChatMessage]) -> list[int]:
    """Return how many of `messages` may be stored already, the likeliest first.

    All but the last, as a rule. A turn that was refused left its message in the
    client's history and nowhere else, so the same without the user's unanswered
    messages is looked for as well.
    """
    whole = answered = len(messages) - 1
    while answered and messages[answered - 1].role == "user":
        answered -= 1
    return [length for length in dict.fromkeys((whole, answered)) if length]


def _new_conversation(user_id: int, turn: Turn) -> Conversation:
    first = next(m.content for m in turn.messages if m.role == "user")
    title = " ".join(first[: 4 * _TITLE_LENGTH].split())
    if len(title) > _TITLE_LENGTH:
        title = title[: _TITLE_LENGTH - 1] + "…"
    return Conversation(
        user_id=user_id,
        title=title,
        provider=turn.provider,
        updated_at=timezone.now(),
    )


def _appended(conversation: Conversation, messages: Sequence[ChatMessage]) -> str:
    now = timezone.now()
    Message.objects.bulk_create(
        [
            Message(
                conversation=conversation,
                user_id=conversation.user_id,
                position=position,
                role=message.role,
                content=message.content,
                created_at=now,
            )
            for position, message in enumerate(messages, conversation.message_count)
        ],
        batch_size=_BATCH,
    )
    thread_hash = conversation.thread_hash
    for message in messages:
        thread_hash = extended_hash(thread_hash, message.role, message.content)
    return thread_hash
