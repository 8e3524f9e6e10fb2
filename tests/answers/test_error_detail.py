"""Why an answer failed is stored with it, for operators only."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import AsyncClient

from accounts.models import User
from accounts.tokens import issue_tokens
from llmchat.books.turn import Turn, detail
from llmchat.database import in_database
from llmchat.models import Message, Provider, ProviderKey
from tests.support.chat_fixtures import end_of
from tests.support.upstream import Upstream

KEY = "sk-canary-0123456789-wxyz"


async def test_it_says_what_the_provider_has_answered_and_holds_no_key(
    user: User, provider: Provider, upstream: Upstream, turn: Callable[..., Turn]
) -> None:
    def store_key() -> None:
        key = ProviderKey(provider=provider)
        key.set_value(KEY)
        key.save()
        Provider.objects.filter(pk=provider.pk).update(needs_key=True)

    await in_database(store_key)
    upstream.status = 400
    upstream.error = {
        "type": "invalid_request_error",
        "code": KEY,
        "message": f"No: {KEY}",
    }

    await end_of(user, turn("Hi"))

    answer = await in_database(lambda: Message.objects.get(role="assistant"))
    assert answer.error_code == "bad_request"
    assert answer.error_detail.startswith(
        "test: bad_request: 400 invalid_request_error"
    )
    assert "canary" not in answer.error_detail


async def test_a_fault_of_the_server_is_named_without_its_words(
    user: User,
    provider: Provider,
    turn: Callable[..., Turn],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def breaks(route: object) -> None:
        raise LookupError("a secret")

    monkeypatch.setattr("llmchat.answers.asking.reachable", breaks)

    await end_of(user, turn("Hi"))

    answer = await in_database(lambda: Message.objects.get(role="assistant"))
    assert answer.error_code == "internal_error"
    assert answer.error_detail == "LookupError; the traceback is in the log"


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("", ""),
        ("two\n lines\0", "two lines\ufffd"),
        ("x" * 300, "x" * 300),
        ("x" * 301, "x" * 299 + "…"),
    ],
)
def test_it_is_one_line_of_limited_length(text: str, stored: str) -> None:
    assert detail(text) == stored


async def test_its_user_does_not_see_it(
    user: User,
    provider: Provider,
    upstream: Upstream,
    turn: Callable[..., Turn],
) -> None:
    upstream.status = 400
    upstream.error = {"type": "a_canary"}
    await end_of(user, turn("Hi"))
    answer = await in_database(lambda: Message.objects.get(role="assistant"))
    assert "a_canary" in answer.error_detail
    pair = await in_database(lambda: issue_tokens(user=user))
    headers = {"authorization": f"Bearer {pair.access}"}

    for path in (
        "/llm/conversations",
        f"/llm/conversations/{answer.conversation_id}",
        "/llm/export",
        f"/llm/conversations/{answer.conversation_id}/export.json",
    ):
        response = await AsyncClient().get(path, headers=headers)
        assert response.status_code == 200, path
        told = response.content if not response.streaming else b""
        if response.streaming:
            told = b"".join([part async for part in response])
        assert b"canary" not in told
