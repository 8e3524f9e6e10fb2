"""What is remembered of rows that hardly change, and that every change takes effect."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.contrib.auth.models import Group
from django.core import serializers
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llmchat.access import keys, memory
from llmchat.access.permissions import access_of
from llmchat.books.sweep import sweep
from llmchat.models import (
    Budget,
    Price,
    Provider,
    ProviderAccess,
    ProviderKey,
    ProviderModel,
    Revision,
)
from llmchat.models.revision import current_revision
from tests.support import live
from tests.support.chat_fixtures import User
from tests.support.provider_forms import submit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def row() -> Provider:
    return make_provider("test")


def make_provider(name: str) -> Provider:
    fields = {"protocol": "openai", "default_model": "m", "base_url": "http://x/v1"}
    return Provider.objects.create(name=name, label="Test", needs_key=False, **fields)


def make_key(row: Provider) -> ProviderKey:
    key = ProviderKey(provider=row)
    key.set_value("sk-0123456789ab")
    key.save()
    return key


def test_what_is_unchanged_is_read_once(row):
    make_key(row)
    memory.current()
    with CaptureQueriesContext(connection) as queries:
        known = memory.current()
        assert [key.value for key in keys.ring(known.providers["test"]).keys] == [
            "sk-0123456789ab"
        ]
    assert len(queries) == 1


def price_of_test() -> object:
    return memory.current().providers["test"].input_price


def has_test() -> object:
    return "test" in memory.current().providers


def keys_of_test() -> object:
    return len(keys.ring(memory.current().providers["test"]).keys)


def make_model(row: Provider) -> ProviderModel:
    return ProviderModel.objects.create(provider=row, name="m-1")


def make_price(row: ProviderModel) -> Price:
    first = date(2026, 1, 1)
    return Price.objects.create(model=row, valid_from=first, input=1, output=1)


def make_price_and_model() -> Price:
    """Make a price, and another model of the same provider."""
    row = Provider.objects.get()
    row.known_models.create(name="m-2")
    return make_price(make_model(row))


def models_of_test() -> object:
    """Return the enabled models, each with what its input costs."""
    return {
        name: tuple(price.input for price in row.price_rows)
        for name, row in memory.current().providers["test"].model_rows.items()
        if row.enabled
    }


def has_budgets() -> object:
    return memory.current().has_budgets


def patterns() -> object:
    user = User.objects.get(username="ann")
    return access_of(user.pk).patterns("test")


def restricted_to_a_group() -> ProviderAccess:
    Provider.objects.update(restricted=True)
    group = Group.objects.create(name="team")
    user = User.objects.create_user("ann")
    user.groups.add(group)
    row = Provider.objects.get()
    return ProviderAccess.objects.create(provider=row, group=group)


def make_budget() -> Budget:
    user = User.objects.create_user("bob")
    return Budget.objects.create(user=user, period="day", unit="tokens", limit=1)


# By name: what is there before, how it changes, what is read, and the result.
CHANGES: dict[str, tuple[Callable, Callable, Callable, object]] = {
    "a provider is saved": (
        lambda: None,
        lambda _: (
            Provider.objects.get()
            .__class__(**Provider.objects.values().get() | {"input_price": 7})
            .save()
        ),
        price_of_test,
        7,
    ),
    "a provider is updated": (
        lambda: None,
        lambda _: Provider.objects.update(input_price=7),
        price_of_test,
        7,
    ),
    "a provider is deleted": (
        lambda: None,
        lambda _: Provider.objects.all().delete(),
        has_test,
        False,
    ),
    "a fixture is loaded": (
        lambda: None,
        lambda _: load(Provider.objects.get(), input_price=7),
        price_of_test,
        7,
    ),
    "a key is added": (
        lambda: None,
        lambda _: make_key(Provider.objects.get()),
        keys_of_test,
        1,
    ),
    "a key is disabled": (
        lambda: make_key(Provider.objects.get()),
        lambda _: ProviderKey.objects.update(enabled=False),
        keys_of_test,
        0,
    ),
    "keys are updated in bulk": (
        lambda: make_key(Provider.objects.get()),
        lambda key: disable_in_bulk(key),
        keys_of_test,
        0,
    ),
    "a key is deleted": (
        lambda: make_key(Provider.objects.get()),
        lambda key: key.delete(),
        keys_of_test,
        0,
    ),
    "a key is moved from another provider": (
        lambda: make_key(make_provider("other")),
        lambda key: Provider.objects.get(name="test").keys.add(key),
        keys_of_test,
        1,
    ),
    "a model is moved from another provider": (
        lambda: make_model(make_provider("other")),
        lambda row: Provider.objects.get(name="test").known_models.add(row),
        models_of_test,
        {"m-1": ()},
    ),
    "a price is moved from another model": (
        lambda: make_price_and_model(),
        lambda price: ProviderModel.objects.get(name="m-2").prices.set([price]),
        models_of_test,
        {"m-1": (), "m-2": (1,)},
    ),
    "a permission is moved from another provider": (
        lambda: move(restricted_to_a_group(), make_provider("other")),
        lambda row: Provider.objects.get(name="test").access.add(row),
        patterns,
        ("*",),
    ),
    "a permission is changed": (
        restricted_to_a_group,
        lambda row: change(row, allowed_models="other"),
        patterns,
        ("other",),
    ),
    "a permission is deleted": (
        restricted_to_a_group,
        lambda row: row.delete(),
        patterns,
        (),
    ),
    "a group is deleted": (
        restricted_to_a_group,
        lambda row: row.group.delete(),
        patterns,
        (),
    ),
    "a user leaves a group": (
        restricted_to_a_group,
        lambda row: row.group.user_set.clear(),
        patterns,
        (),
    ),
    "a user becomes a superuser": (
        lambda: change(restricted_to_a_group(), allowed_models="other"),
        lambda _: User.objects.update(is_superuser=True),
        patterns,
        ("*",),
    ),
    "a model is added": (
        lambda: None,
        lambda _: make_model(Provider.objects.get()),
        models_of_test,
        {"m-1": ()},
    ),
    "a model is disabled": (
        lambda: make_model(Provider.objects.get()),
        lambda row: change(row, enabled=False),
        models_of_test,
        {},
    ),
    "models are added in bulk": (
        lambda: None,
        lambda _: ProviderModel.objects.bulk_create(
            [ProviderModel(provider=Provider.objects.get(), name="m-1")]
        ),
        models_of_test,
        {"m-1": ()},
    ),
    "a model is deleted": (
        lambda: make_model(Provider.objects.get()),
        lambda row: row.delete(),
        models_of_test,
        {},
    ),
    "a price is added": (
        lambda: make_model(Provider.objects.get()),
        lambda row: make_price(row),
        models_of_test,
        {"m-1": (1,)},
    ),
    "prices are updated": (
        lambda: make_price(make_model(Provider.objects.get())),
        lambda _: Price.objects.update(input=7),
        models_of_test,
        {"m-1": (7,)},
    ),
    "a price is deleted": (
        lambda: make_price(make_model(Provider.objects.get())),
        lambda row: row.delete(),
        models_of_test,
        {"m-1": ()},
    ),
    "a budget is made": (lambda: None, lambda _: make_budget(), has_budgets, True),
    "budgets are made in bulk": (
        lambda: None,
        lambda _: Budget.objects.bulk_create(
            [Budget(user=User.objects.create_user("bob"), limit=1)]
        ),
        has_budgets,
        True,
    ),
    "a budget is deleted": (
        make_budget,
        lambda budget: budget.delete(),
        has_budgets,
        False,
    ),
    "its user is deleted": (
        make_budget,
        lambda budget: budget.user.delete(),
        has_budgets,
        False,
    ),
}


def change(row: Any, **fields: object) -> Any:
    for name, value in fields.items():
        setattr(row, name, value)
    row.save()
    return row


def move(row: ProviderAccess, provider: Provider) -> ProviderAccess:
    row.provider = provider
    row.save()
    return row


def disable_in_bulk(key: ProviderKey) -> None:
    key.enabled = False
    ProviderKey.objects.bulk_update([key], ["enabled"])


def load(row: Provider, **fields: object) -> None:
    for name, value in fields.items():
        setattr(row, name, value)
    (loaded,) = serializers.deserialize("json", serializers.serialize("json", [row]))
    loaded.save()


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_holds_for_whoever_reads_next(row, name):
    prepare, act, read, expected = CHANGES[name]
    made = prepare()
    assert read() != expected
    act(made)
    assert read() == expected


def page_of(kind: str, row: Any, action: str = "change") -> str:
    return f"/admin/llmchat/{kind}/{row.pk}/{action}/"


# By model: what is there before, the page, what is entered, what is read, the result.
ADMIN: dict[str, tuple[Callable, Callable, dict[str, Any], Callable, object]] = {
    "provider": (
        lambda row: row,
        lambda row: page_of("provider", row),
        {"input_price": "7"},
        price_of_test,
        7,
    ),
    "key": (
        make_key,
        lambda key: page_of("provider", key.provider),
        {"keys-0-enabled": None},
        keys_of_test,
        0,
    ),
    "permission": (
        lambda _: restricted_to_a_group(),
        lambda row: page_of("provider", row.provider),
        {"access-0-allowed_models": "other"},
        patterns,
        ("other",),
    ),
    "model": (
        make_model,
        lambda row: page_of("providermodel", row),
        {"enabled": None},
        models_of_test,
        {},
    ),
    "price": (
        lambda row: make_price(make_model(row)),
        lambda price: page_of("providermodel", price.model),
        {"prices-0-input": "7"},
        models_of_test,
        {"m-1": (7,)},
    ),
    "budget": (
        lambda _: make_budget(),
        lambda budget: page_of("budget", budget, "delete"),
        {"post": "yes"},
        has_budgets,
        False,
    ),
}


@pytest.mark.parametrize("model", ADMIN)
def test_a_change_in_the_admin_holds(row, model):
    prepare, page, changes, read, expected = ADMIN[model]
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="x"))
    url = page(prepare(row))
    assert read() != expected
    if url.endswith("/change/"):
        submit(client, url, **changes)
    else:
        client.post(url, changes)
    assert read() == expected


def test_a_change_by_another_process_holds(row):
    assert price_of_test() is None
    code = (
        "import django; django.setup()\n"
        "from llmchat.models import Provider\n"
        "Provider.objects.update(input_price=7)"
    )
    if connection.vendor == "sqlite":
        url = f"sqlite:///{connection.settings_dict['NAME']}"
    else:
        name = connection.settings_dict["NAME"]
        url = os.environ["LLMCHAT_TEST_DATABASE_URL"]
        url = urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "config.settings",
        },
        cwd=live.ROOT,
        check=True,
    )
    assert price_of_test() == 7


def test_what_is_only_counted_changes_nothing_that_is_remembered(row):
    key, budget = make_key(row), make_budget()
    before = current_revision()
    ProviderKey.objects.update(last_used_at=timezone.now())
    budget.spent = 7
    budget.save(update_fields=["spent", "period_start"])
    assert current_revision() == before
    ProviderKey.objects.filter(pk=key.pk).update(resting_until=timezone.now())
    assert current_revision() != before


def test_a_change_that_is_rolled_back_is_forgotten(row):
    assert price_of_test() is None
    with transaction.atomic():
        Provider.objects.update(input_price=7)
        assert price_of_test() == 7
        transaction.set_rollback(True)
    assert price_of_test() is None


def test_without_a_revision_nothing_is_remembered(row):
    """This is for SQL by hand: `DELETE FROM llmchat_revision` makes it take effect."""
    assert price_of_test() is None
    Revision.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE llmchat_provider SET input_price = 7")
    assert price_of_test() == 7


def test_a_sweep_writes_the_word_without_which_nothing_is_remembered(row):
    """No row has changed since the migrations, as when all keys are in settings."""
    Revision.objects.all().delete()
    sweep()
    first = current_revision()
    memory.current()
    with CaptureQueriesContext(connection) as queries:
        memory.current()
    assert len(queries) == 1
    sweep()
    assert current_revision() == first
    Provider.objects.update(input_price=7)
    assert price_of_test() == 7


def test_a_key_that_works_is_written_once_a_minute(row, monkeypatch):
    stored = make_key(row)
    (key,) = keys.ring(memory.current().providers["test"]).keys
    keys.note((key,), {}, worked=True)
    with CaptureQueriesContext(connection) as queries:
        keys.note((key,), {}, worked=True)
    assert len(queries) == 0

    # A refusal noted by any process is a change, so the next use of the key is stored.
    later = timezone.now() + timedelta(minutes=1)
    ProviderKey.objects.update(last_error="provider_auth", resting_until=later)
    memory.current()
    keys.note((key,), {}, worked=True)
    stored.refresh_from_db()
    assert (stored.last_error, stored.resting_until) == ("", None)
