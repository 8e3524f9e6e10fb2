"""What was used stays in the totals, whichever user or row is deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta
from decimal import Decimal

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from accounts.own import delete_account
from llmchat.answers import stopping
from llmchat.books.turn import Outcome
from llmchat.database import in_database
from llmchat.models import Conversation, Message, PastUse
from llmchat.providers.types import Usage
from llmchat.reports import usage
from tests.support.admin_fixtures import make_conversation
from tests.support.deletion import delete_users
from tests.support.turns import begin_turn, end_turn

USED = {"input_tokens": 100, "output_tokens": 50, "cost": Decimal("0.25")}


@pytest.fixture
def ann(db: None) -> User:
    """A user with answers on two days, one of which failed."""
    cache.clear()
    ann = User.objects.create_user("ann", password="one-long-password")
    make_conversation(ann, **USED)
    make_conversation(ann, state="error", **USED)
    make_conversation(ann, ago=timedelta(days=3), provider="claude", **USED)
    make_conversation(ann, provider="", **USED)  # came with a history
    make_conversation(User.objects.create_user("bob"), **USED)
    return ann


def boss() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def delete_in_the_admin(ann: User) -> None:
    url = reverse("admin:accounts_user_delete", args=[ann.pk])
    assert boss().post(url, {"post": "yes"}).status_code == 302


def delete_selected(ann: User) -> None:
    data = {"action": "delete_selected", "_selected_action": [ann.pk], "post": "yes"}
    boss().post(reverse("admin:accounts_user_changelist"), data)


WAYS: dict[str, Callable[[User], object]] = {
    "at once": lambda ann: delete_users(User.objects.filter(pk=ann.pk)),
    "by own request": lambda ann: delete_account(ann.pk, password="one-long-password"),
    "in the admin": delete_in_the_admin,
    "as a selection": delete_selected,
    "in the shell": lambda ann: ann.delete(),
    "with a query": lambda ann: User.objects.filter(pk=ann.pk).delete(),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_deleted_user_counts_once_and_without_a_name(ann: User, way: str) -> None:
    before = usage.measure()
    WAYS[way](ann)
    assert not Message.objects.filter(user=ann.pk).exists()
    after = usage.measure()
    assert after.total == before.total
    assert after.total.failures == 1
    assert (after.by_day, after.by_provider) == (before.by_day, before.by_provider)
    assert after.by_model == before.by_model
    assert [total.name for total in after.by_user] == ["bob"]
    assert PastUse.objects.count() == 2


def test_so_does_what_retention_and_people_delete(ann: User) -> None:
    before = usage.measure()
    call_command("prune", "--older-than", "2d", verbosity=0)
    stopping.delete(Conversation.objects.filter(user=ann))
    assert Message.objects.exclude(user=ann).count() == 2
    assert usage.measure().total == before.total
    delete_users(User.objects.all())
    after = usage.measure()
    assert after.total == before.total
    assert after.by_user == ()
    row = PastUse.objects.get(provider="openai")
    assert (row.answers, row.failures, row.cost) == (3, 1, Decimal("0.75"))


async def test_an_answer_that_is_deleted_while_it_is_written_counts_at_its_end(
    user, provider, turn
):
    def run() -> None:
        begun = begin_turn(user.pk, turn("Hi"))
        delete_users(User.objects.filter(pk=user.pk))
        assert not PastUse.objects.exists()
        used = Usage(7, 3, "provider")
        end_turn(begun, Outcome(Message.State.CANCELLED, "He", used, "m"))

    await in_database(run)
    row = await in_database(PastUse.objects.get)
    assert (row.answers, row.failures, row.model) == (1, 0, "m")
    assert (row.input_tokens, row.output_tokens) == (7, 3)
    assert row.cost == Decimal("0.000013")


async def test_it_counts_on_the_day_that_it_began_on(user, provider, turn):
    began = timezone.now() - timedelta(days=1)

    def run() -> None:
        begun = replace(begin_turn(user.pk, turn("Hi")), began_at=began)
        delete_users(User.objects.filter(pk=user.pk))
        used = Usage(7, 3, "provider")
        end_turn(begun, Outcome(Message.State.COMPLETE, "He", used, "m"))

    await in_database(run)
    row = await in_database(PastUse.objects.get)
    assert row.day == began.astimezone(UTC).date()


def test_what_is_not_priced_does_not_become_free_when_it_is_deleted(db: None) -> None:
    cache.clear()
    ann = User.objects.create_user("ann")
    used = USED | {"cost": None}
    make_conversation(ann, **used)
    make_conversation(ann, state="error", **used)
    make_conversation(ann, provider="claude", **USED)
    make_conversation(ann, provider="claude", **used)
    make_conversation(ann, provider="local", **(USED | {"cost": Decimal(0)}))
    before = usage.measure()
    delete_users(User.objects.all())
    after = usage.measure()
    assert (after.total, after.by_provider) == (before.total, before.by_provider)
    costs = {total.name: (total.cost, total.unpriced) for total in after.by_provider}
    assert costs == {
        "claude": (Decimal("0.25"), 1),
        "local": (0, 0),
        "openai": (None, 2),
    }
