"""Conversations with a past, for the tests of the admin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from accounts.models import User
from llmchat.models import Conversation, Message


def make_conversation(
    user: User,
    *said: tuple[str, str],
    title: str = "Greeting",
    provider: str = "openai",
    state: str = "complete",
    ago: timedelta = timedelta(0),
    **fields: Any,
) -> Conversation:
    """Store a conversation of (role, text) pairs; `fields` are set on answers."""
    said = said or (("user", "Hello there"), ("assistant", "Hi!"))
    now = timezone.now() - ago
    conversation = Conversation.objects.create(
        user=user,
        title=title,
        provider=provider,
        state=state,
        message_count=len(said),
        updated_at=now,
    )
    for position, (role, content) in enumerate(said):
        answer = {
            "session_id": f"{conversation.pk}-{position}",
            "provider": provider,
            "model": "model-1",
            "state": state,
            **fields,
        }
        Message.objects.create(
            conversation=conversation,
            user=user,
            position=position,
            role=role,
            content=content,
            created_at=now,
            **(answer if role == "assistant" else {}),
        )
    return conversation
