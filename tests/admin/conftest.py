"""Fixtures of the admin's tests."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from llmchat.books.workers import worker_id
from llmchat.models import Message, Piece, Provider
from tests.support.admin_fixtures import make_conversation


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_user("ann")


@pytest.fixture
def running(ann: User) -> Message:
    """An answer that, according to its row, this process is writing."""
    conversation = make_conversation(
        ann,
        state="streaming",
        worker=worker_id(),
    )
    answer = conversation.messages.get(role="assistant")
    now = timezone.now()
    Piece.objects.create(message_id=answer.pk, start=0, text="Yes", written_at=now)
    return answer


@pytest.fixture
def boss(transactional_db: None) -> Client:
    """The client of an operator whom the connections of other threads see, too."""
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


@pytest.fixture
def provider(boss: Client) -> Provider:
    # Earlier tests might have emptied the table.
    fields = {
        "label": "OpenAI",
        "protocol": "openai",
        "default_model": "model-1",
        "max_tokens_field": "max_completion_tokens",
    }
    return Provider.objects.update_or_create(name="openai", defaults=fields)[0]
