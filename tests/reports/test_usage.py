"""Usage: what a conversation adds up to, and what the front page shows."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.utils import timezone

from accounts.models import User
from llmchat.books.sweep import sweep
from llmchat.books.turn import Outcome, Turn
from llmchat.models import (
    Conversation,
    Message,
    Provider,
    ProviderAccess,
    ProviderKey,
    Worker,
)
from llmchat.providers.types import ChatMessage, Usage
from llmchat.reports import dashboard, failing, times, usage
from tests.support.admin_fixtures import make_conversation
from tests.support.turns import begin_turn, end_stored, end_turn

State = Message.State


@pytest.fixture
def provider(db: None) -> Provider:
    return Provider.objects.create(
        name="test",
        label="Test",
        protocol="openai",
        base_url="http://127.0.0.1:9/v1",
        default_model="model-1",
        needs_key=False,
        input_price=1,
        output_price=2,
    )


def turn(session_id: str, *texts: str) -> Turn:
    roles = ("user", "assistant")
    messages = tuple(
        ChatMessage(roles[n % 2], text)  # type: ignore[arg-type]
        for n, text in enumerate(texts)
    )
    return Turn(session_id, "test", messages)


def ending(state: State = State.COMPLETE, text: str = "Hello") -> Outcome:
    return Outcome(state, text, Usage(1000, 500, "provider"), "model-1-snapshot")


# --- On the conversation's row ---------------------------------------------------


def test_a_conversation_adds_up_its_turns(ann: User, provider: Provider) -> None:
    first = begin_turn(ann.pk, turn("s-1", "Hi"))
    row = Conversation.objects.get()
    assert (row.state, row.turn_count, row.model) == ("streaming", 1, "model-1")

    end_stored(first, ending())
    second = begin_turn(ann.pk, turn("s-2", "Hi", "Hello", "And?"))
    end_stored(second, ending(State.ERROR, ""))

    row = Conversation.objects.get()
    assert (row.state, row.turn_count, row.model) == ("error", 2, "model-1-snapshot")
    assert (row.input_tokens, row.output_tokens) == (2000, 1000)
    assert row.cost == Decimal("0.004")


def test_an_end_counts_once(ann: User, provider: Provider) -> None:
    begun = begin_turn(ann.pk, turn("s-1", "Hi"))
    end_stored(begun, ending())
    end_stored(begun, ending())

    assert Conversation.objects.get().output_tokens == 500


def test_an_interrupted_answer_shows_on_its_conversation(
    ann: User, provider: Provider
) -> None:
    begun = begin_turn(ann.pk, turn("s-1", "Hi"))
    past = timezone.now() - timedelta(seconds=1)
    Worker.objects.create(name="elsewhere/1/2", lease_until=past)
    Message.objects.filter(pk=begun.message_id).update(worker="elsewhere/1/2")

    assert sweep() == 1
    assert Conversation.objects.get().state == "interrupted"


def test_a_late_end_brings_nothing_deleted_back(ann: User, provider: Provider) -> None:
    begun = begin_turn(ann.pk, turn("s-1", "Hi"))
    Conversation.objects.all().delete()

    end_turn(begun, ending())
    assert not Conversation.objects.exists()
    assert not Message.objects.exists()


def test_the_migration_adds_up_what_was_there(ann: User, provider: Provider) -> None:
    said = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    make_conversation(ann, *said, input_tokens=3, output_tokens=5, cost=Decimal("0.5"))
    make_conversation(ann, ("user", "alone"), state="")
    Conversation.objects.update(state="", model="")

    migration = import_module("llmchat.migrations.0010_conversation_totals")
    migration.add_up(apps, None)

    row = Conversation.objects.get(message_count=4)
    assert (row.turn_count, row.input_tokens, row.output_tokens) == (2, 6, 10)
    assert (row.cost, row.state, row.model) == (1, "complete", "model-1")
    assert Conversation.objects.get(message_count=1).turn_count == 0


# --- On the front page -----------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "half", "most"),
    [([], None, None), ([5], 5, 5), ([3, 1, 2], 2, 3), (list(range(1, 101)), 50, 95)],
)
def test_percentiles(values: list[int], half: int | None, most: int | None) -> None:
    assert times.percentile(values, 50) == half
    assert times.percentile(values, 95) == most


def test_usage_is_summed_by_day_provider_model_and_user(ann: User) -> None:
    counts = {"input_tokens": 10, "output_tokens": 20, "cost": Decimal("0.25")}
    bob = User.objects.create_user("bob")
    make_conversation(ann, **counts)
    make_conversation(ann, provider="claude", model="m-2", state="error", **counts)
    make_conversation(bob, ago=timedelta(days=2), **counts)
    make_conversation(ann, ago=timedelta(days=31), **counts)
    make_conversation(ann, state="streaming")

    measured = usage.measure()

    assert (measured.total.answers, measured.total.tokens) == (3, 90)
    assert measured.total.cost == Decimal("0.75")
    assert [(t.name, t.answers) for t in measured.by_provider] == [
        ("openai", 2),
        ("claude", 1),
    ]
    assert measured.by_provider[1].failures == 1
    assert {t.name: t.answers for t in measured.by_model} == {"model-1": 2, "m-2": 1}
    assert {t.name: t.output_tokens for t in measured.by_user} == {"ann": 40, "bob": 20}
    assert len(measured.days) == usage.DAYS
    assert set(measured.by_day[measured.days[-1]]) == {"openai", "claude"}
    assert set(measured.by_day[measured.days[-3]]) == {"openai"}


def test_the_client_s_own_history_is_no_usage(ann: User) -> None:
    row = make_conversation(ann, ("user", "Hi"))
    Message.objects.create(
        conversation=row,
        user=ann,
        position=1,
        role="assistant",
        content="Hello",
        created_at=timezone.now(),
    )
    assert usage.measure().total.answers == 0


def test_times_are_measured_from_the_start_of_the_turn(ann: User) -> None:
    row = make_conversation(ann)
    answer = row.messages.get(role="assistant")
    answer.first_token_at = answer.created_at + timedelta(milliseconds=120)
    answer.finished_at = answer.created_at + timedelta(seconds=3)
    answer.save()

    (measured,) = usage.measure().times

    assert (measured.first_token_p50, measured.duration_p95) == (120, 3000)


def test_the_front_page_asks_the_database_once_a_minute(
    admin_client: Client, ann: User, django_assert_max_num_queries: Any
) -> None:
    make_conversation(ann, output_tokens=1234)
    usage.measure()  # PostgreSQL adds up the days that are over
    with django_assert_max_num_queries(24):
        page = admin_client.get("/admin/").content.decode()
    make_conversation(ann, output_tokens=1234)
    with django_assert_max_num_queries(9):
        again = admin_client.get("/admin/").content.decode()

    assert "1,234" in page
    assert "1,234" in again


def test_who_may_not_read_messages_sees_no_usage(client: Client, ann: User) -> None:
    User.objects.filter(pk=ann.pk).update(is_staff=True)
    client.force_login(User.objects.get(pk=ann.pk))

    assert "Tokens by day" not in client.get("/admin/").content.decode()


def test_failing_keys_and_retired_models_need_attention(
    ann: User, provider: Provider
) -> None:
    assert [*failing.keys(), *failing.retired_models()] == []
    key = ProviderKey(provider=provider, name="old", last_error="provider_quota")
    key.set_value("sk-0123456789-abcd")
    key.save()
    gone = {"state": "error", "error_code": "model_not_found", "provider": "test"}
    make_conversation(ann, **gone)
    make_conversation(ann, **gone | {"model": "somebody's typing error"})

    (first,), (second,) = failing.keys(), failing.retired_models()

    assert first.text == "Test: the key old sk-…abcd was refused (provider_quota)."
    assert "its default model model-1" in second.text


def test_a_provider_that_is_open_despite_its_groups_needs_attention(
    provider: Provider,
) -> None:
    assert not list(failing.open_providers())
    for name in ("red", "blue"):
        ProviderAccess.objects.create(
            provider=provider, group=Group.objects.create(name=name)
        )
    texts = [notice.text for notice in failing.open_providers()]
    assert texts == [
        "Test: everyone may use it, although it has groups. Turn on “Only for groups”,"
        " or delete the groups there."
    ]

    Provider.objects.update(restricted=True)
    assert not list(failing.open_providers())


@pytest.mark.parametrize(
    ("permission", "seen"),
    [
        ("view_providerkey", {"refused"}),
        ("view_provider", {"does not offer"}),
        ("view_provideraccess", {"although it has groups"}),
        ("view_budget", set()),
    ],
)
def test_a_notice_is_for_those_who_may_view_what_it_is_about(
    client: Client, ann: User, provider: Provider, permission: str, seen: set[str]
) -> None:
    key = ProviderKey(provider=provider, last_error="provider_quota")
    key.set_value("sk-0123456789-abcd")
    key.save()
    make_conversation(ann, state="error", error_code="model_not_found", provider="test")
    ProviderAccess.objects.create(
        provider=provider, group=Group.objects.create(name="team")
    )
    operator = User.objects.create_user("operator", is_staff=True)
    operator.user_permissions.add(Permission.objects.get(codename=permission))
    client.force_login(operator)

    page = client.get("/admin/").content.decode()
    texts = ("refused", "does not offer", "although it has groups")
    assert {text for text in texts if text in page} == seen


def test_many_providers_share_the_last_colour(ann: User) -> None:
    for number in range(9):
        make_conversation(ann, provider=f"p{number}", output_tokens=9 - number)

    chart = dashboard.chart(usage.measure(), lambda total: total.tokens)

    names = [dataset["label"] for dataset in chart["datasets"]]
    assert names == ["p0", "p1", "p2", "p3", "p4", "other"]
    assert chart["datasets"][-1]["data"][-1] == 4 + 3 + 2 + 1
