"""Everything that is stored about users, as they download it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import api_keys
from accounts.models import User
from accounts.tokens import issue_tokens
from llmchat.models import Budget, Conversation, Message
from llmchat.models.workers import Piece
from llmchat.reports import own
from tests.support.admin_fixtures import make_conversation
from tests.support.limits import hold_the_minute

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ann() -> User:
    cache.clear()
    return User.objects.create_user("ann", "ann@example.com", first_name="Änn")


def exported(client: Client, user: User) -> Any:
    headers = {"authorization": f"Bearer {issue_tokens(user=user).access}"}
    answer = client.get("/llm/export", headers=headers)
    assert answer.status_code == 200, answer.content
    assert answer.headers["Content-Disposition"].startswith("attachment; ")

    async def whole() -> bytes:
        return b"".join([chunk async for chunk in answer])

    return json.loads(async_to_sync(whole)())


def test_it_holds_all_that_is_the_users_and_nothing_else(
    client: Client, ann: User
) -> None:
    bob = User.objects.create_user("bob")
    ann.groups.add(Group.objects.create(name="ours"))
    Budget.objects.create(user=ann, limit=100)
    Budget.objects.create(user=bob, limit=1)
    make_conversation(ann, input_tokens=3, ago=timedelta(days=400))
    make_conversation(ann, ("user", "Grüße\u2028"), title="Another")
    make_conversation(bob, title="Of Bob")
    key, _ = api_keys.create(user_id=ann.pk, name="x", scopes="chat")
    api_keys.create(user_id=bob.pk, name="x", scopes="chat")

    data = exported(client, ann)

    assert list(data) == ["user", "usage", "apiKeys", "budgets", "conversations"]
    assert [row["prefix"] for row in data["apiKeys"]] == [key.prefix]
    assert data["user"] | {"joinedAt": ""} == {
        "id": ann.pk,
        "username": "ann",
        "email": "ann@example.com",
        "firstName": "Änn",
        "lastName": "",
        "isStaff": False,
        "joinedAt": "",
        "lastLoginAt": None,
        "groups": ["ours"],
    }
    assert [row["inputTokens"] for row in data["usage"]] == [3]
    assert [row["limit"] for row in data["budgets"]] == ["100"]
    said = {
        row["title"]: [message["content"] for message in row["messages"]]
        for row in data["conversations"]
    }
    assert said == {"Greeting": ["Hello there", "Hi!"], "Another": ["Grüße\u2028"]}


def test_what_was_replaced_is_there_and_says_so(client: Client, ann: User) -> None:
    make_conversation(ann, ("user", "Hi"), ("assistant", "Hello"), ("user", "Hey"))
    Message.objects.filter(position__lt=2).update(replaced_by=2)

    [row] = exported(client, ann)["conversations"]

    said = [(message["content"], message["replaced"]) for message in row["messages"]]
    assert said == [("Hi", True), ("Hello", True), ("Hey", False)]


def test_however_much_there_is_all_of_it_comes(
    client: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "PAGE", 2)
    monkeypatch.setattr(own, "_READ_AT_ONCE", 2)
    lengths = (5, 0, 4, 2, 3)
    for length in lengths:
        said = [("user", f"word {number}") for number in range(length)]
        make_conversation(ann, *said, title=str(length))
    Message.objects.filter(conversation__title="0").delete()

    rows = exported(client, ann)["conversations"]

    assert sorted(len(row["messages"]) for row in rows if row["title"] != "0") == [
        2,
        3,
        4,
        5,
    ]
    for row in rows:
        assert [message["content"] for message in row["messages"]] == [
            f"word {number}" for number in range(int(row["title"]))
        ]


def test_a_running_answer_has_its_text_so_far(client: Client, ann: User) -> None:
    make_conversation(ann, ("user", "Hi"), ("assistant", ""), state="streaming")
    answer = Message.objects.get(role="assistant")
    Piece.objects.create(
        message_id=answer.pk, start=0, text="So far", written_at=timezone.now()
    )

    [row] = exported(client, ann)["conversations"]

    assert [message["content"] for message in row["messages"]] == ["Hi", "So far"]


def test_it_counts_as_a_message(
    client: Client, ann: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_the_minute(monkeypatch)
    settings.LLMCHAT = settings.LLMCHAT | {"messages_per_minute": 1}
    assert exported(client, ann)["conversations"] == []
    headers = {"authorization": f"Bearer {issue_tokens(user=ann).access}"}

    refused = client.get("/llm/export/", headers=headers)

    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert Conversation.objects.count() == 0


def test_who_is_gone_elsewhere_gets_no_half_of_a_file(
    client: Client, ann: User
) -> None:
    headers = {"authorization": f"Bearer {issue_tokens(user=ann).access}"}
    assert client.get("/auth/me", headers=headers).status_code == 200
    # For a second this process does not know what another one has deleted.
    connection.cursor().execute("DELETE FROM token_blacklist_outstandingtoken")
    User.objects.filter(pk=ann.pk)._raw_delete("default")

    answer = client.get("/llm/export", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
