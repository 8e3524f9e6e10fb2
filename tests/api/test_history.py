"""A history as clients send it back, with empty answers among its messages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.db.models import Model

from llmchat.answers.answer import cancel_stream
from llmchat.answers.events import Cancelled
from llmchat.api.validation import TURN_FIELDS, turn_from, validated
from llmchat.books.turn import Turn
from llmchat.database import in_database
from llmchat.models import Conversation
from tests.support.chat_fixtures import events_of

ASSISTANT = "assistant"


def said(*pairs: tuple[str, str], session_id: str) -> Turn:
    """Return the turn that a client sends with this history."""
    messages = [{"role": role, "content": content} for role, content in pairs]
    data = {"sessionId": session_id, "provider": "test", "messages": messages}
    return turn_from(validated(TURN_FIELDS, data))


async def cancel_before_the_first_word(user: Model, upstream: Any, turn: Turn) -> None:
    upstream.received.clear()
    upstream.steps = (asyncio.Event(),)
    running = asyncio.create_task(events_of(user, turn))
    await upstream.received.wait()
    assert cancel_stream(user_id=user.pk, session_id=turn.session_id)
    assert isinstance((await running)[-1], Cancelled)
    upstream.steps = ("Hello",)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("sent_back", [True, False])
async def test_an_answer_cancelled_without_a_word_keeps_its_conversation(
    user: Model, provider: Any, upstream: Any, times: int, sent_back: bool
) -> None:
    history: list[tuple[str, str]] = []
    for number in range(times):
        history.append(("user", f"try {number}"))
        turn = said(*history, session_id=f"s-{number}")
        await cancel_before_the_first_word(user, upstream, turn)
        history += [(ASSISTANT, "")] if sent_back else []
    history.append(("user", "last"))
    await events_of(user, said(*history, session_id="s-last"))

    def stored() -> list[str]:
        conversation = Conversation.objects.get()
        rows = conversation.messages.exclude(content="").order_by("position")
        return list(rows.values_list("content", flat=True))

    tries = [f"try {number}" for number in range(times)]
    assert await in_database(stored) == [*tries, "last", "Hello"]
