"""Clients see that something has no price, and never a cost of 0 instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from accounts.models import User
from accounts.tokens import issue_tokens
from llmchat.models import Conversation
from llmchat.reports.known_costs import known_costs
from tests.support.admin_fixtures import make_conversation

pytestmark = pytest.mark.django_db(transaction=True)

USED = {"input_tokens": 3, "output_tokens": 5}


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann", password="correct horse battery")


@pytest.fixture
def get(ann: User, client: Client) -> Callable[[str], Any]:
    headers = {"authorization": f"Bearer {issue_tokens(user=ann).access}"}

    def get(path: str) -> Any:
        answer = client.get(path, headers=headers)
        assert answer.status_code == 200
        return answer

    return get


def downloaded(answer: Any) -> bytes:
    """Return the body of a streamed response."""

    async def pieces() -> bytes:
        return b"".join([piece async for piece in answer])

    return async_to_sync(pieces)()


def talked(user: User, cost: str | None, **fields: Any) -> Conversation:
    """Store a conversation with one answer, whose cost is the sum in its row."""
    amount = None if cost is None else Decimal(cost)
    row = make_conversation(user, cost=amount, **(USED | fields))
    row.turn_count, row.cost = 1, amount or Decimal(0)
    row.save()
    return row


def test_a_day_without_a_price_has_no_cost(ann: User, get: Callable[..., Any]) -> None:
    talked(ann, None)
    talked(ann, None, provider="claude")
    talked(ann, "0.25", provider="claude")
    talked(ann, "0", provider="local")

    days = get("/llm/usage").json()["results"]

    assert [(day["provider"], day["cost"], day["unpriced"]) for day in days] == [
        ("claude", "0.25", 1),
        ("local", "0", 0),
        ("openai", None, 1),
    ]


@pytest.mark.parametrize(
    ("cost", "shown"), [(None, None), ("0", "0"), ("0.25", "0.25")]
)
def test_a_conversation_without_a_price_has_no_cost(
    ann: User, get: Callable[..., Any], cost: str | None, shown: str | None
) -> None:
    row = talked(ann, cost)
    path = f"/llm/conversations/{row.pk}"

    assert get(path).json()["cost"] == shown
    assert [one["cost"] for one in get("/llm/conversations").json()["results"]] == [
        shown
    ]
    assert json.loads(downloaded(get(f"{path}/export.json")))["cost"] == shown
    (told,) = json.loads(downloaded(get("/llm/export")))["conversations"]
    assert told["cost"] == shown


def test_what_is_priced_counts_and_what_is_new_has_cost_nothing(ann: User) -> None:
    rows = [talked(ann, None), talked(ann, "0"), make_conversation(ann)]
    answer = rows[0].messages.get(role="assistant")
    answer.pk, answer.position, answer.cost = None, 2, Decimal(0)
    answer.save(force_insert=True)
    assert list(known_costs(rows).values()) == [0, 0, 0]
