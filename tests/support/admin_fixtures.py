"""Conversations with a past, for the tests of the admin."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from accounts.models import User
from llmchat.models import Conversation, Message


def make_conversation(
    user: User, *said: tuple[str, str], **fields: Any
) -> Conversation:
    """Store a conversation, described as `past_conversation` takes it."""
    conversation, messages = past_conversation(user, *said, **fields)
    store([(conversation, messages)])
    return conversation


def store(past: Iterable[tuple[Conversation, list[Message]]]) -> None:
    """Store conversations and their messages, all at once."""
    rows = list(past)
    Conversation.objects.bulk_create(conversation for conversation, _ in rows)
    Message.objects.bulk_create(message for _, some in rows for message in some)


def past_conversation(
    user: User,
    *said: tuple[str, str],
    title: str = "Greeting",
    provider: str = "openai",
    state: str = "complete",
    ago: timedelta = timedelta(0),
    **fields: Any,
) -> tuple[Conversation, list[Message]]:
    """Return a conversation of (role, text) pairs and its messages, for `store`.

    `fields` are set on answers.
    """
    said = said or (("user", "Hello there"), ("assistant", "Hi!"))
    now = timezone.now() - ago
    conversation = Conversation(
        user=user,
        title=title,
        provider=provider,
        state=state,
        message_count=len(said),
        updated_at=now,
    )
    messages = []
    for position, (role, content) in enumerate(said):
        answer = {
            "session_id": f"{conversation.pk}-{position}",
            "provider": provider,
            "model": "model-1",
            "state": state,
            **fields,
        }
        message = Message(
            conversation=conversation,
            user=user,
            position=position,
            role=role,
            content=content,
            created_at=now,
            **(answer if role == "assistant" else {}),
        )
        messages.append(message)
    return conversation, messages
