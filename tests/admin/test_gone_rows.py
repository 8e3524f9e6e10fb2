"""Rows of a page that have been deleted since it was shown.

A second click on *Save* finds the page like this, or a click after another operator's.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.test import Client
from django.urls import reverse

from accounts.models import User
from llmchat.models import Budget, Price, Provider, ProviderAccess, ProviderModel
from tests.support.provider_forms import change_url, entered, submit

pytestmark = pytest.mark.django_db
# The page's address, the prefix of its rows, a field of the page itself, and the rows.
Page = tuple[str, str, str, QuerySet[Any]]


def acme() -> Provider:
    return Provider.objects.create(
        name="acme", label="Acme", protocol="openai", default_model="m", restricted=True
    )


def page_of(row: Model) -> str:
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return reverse(name, args=[row.pk])


def access(client: Client) -> Page:
    provider, group = acme(), Group.objects.create(name="team")
    ProviderAccess.objects.create(provider=provider, group=group)
    return change_url(provider), "access", "label", provider.access.all()


def keys(client: Client) -> Page:
    provider = acme()
    new = {
        "keys-TOTAL_FORMS": 1,
        "keys-0-name": "main",
        "keys-0-value": "sk-123456789",
    }
    submit(client, change_url(provider), **new)
    return change_url(provider), "keys", "label", provider.keys.all()


def members(client: Client) -> Page:
    group = Group.objects.create(name="team")
    User.objects.create_user("ann").groups.add(group)
    rows = User.groups.through.objects.filter(group=group)
    return page_of(group), "User_groups", "name", rows


def budgets(client: Client) -> Page:
    ann = User.objects.create_user("ann")
    Budget.objects.create(user=ann, period="day", unit="tokens", limit=10)
    return page_of(ann), "budgets", "first_name", ann.budgets.all()


def prices(client: Client) -> Page:
    model = ProviderModel.objects.create(provider=acme(), name="m-1")
    Price.objects.create(model=model, input=1, output=2, valid_from=date(2026, 1, 1))
    return page_of(model), "prices", "label", model.prices.all()


PAGES = pytest.mark.parametrize("make", [access, keys, members, budgets, prices])


@PAGES
def test_a_row_is_deleted_twice(
    admin_client: Client, make: Callable[[Client], Page]
) -> None:
    url, rows, field, stored = make(admin_client)
    assert stored.count() == 1
    sent = entered(admin_client, url) | {f"{rows}-0-DELETE": "on"}
    before = LogEntry.objects.count()

    assert admin_client.post(url, sent).status_code == 302
    assert not stored.exists()
    assert admin_client.post(url, sent | {field: "other"}).status_code == 302

    assert entered(admin_client, url)[field] == "other"
    said = [entry.get_change_message() for entry in LogEntry.objects.all()[:2]]
    assert LogEntry.objects.count() == before + 2
    assert ["Deleted" in text for text in said] == [False, True]


@PAGES
def test_a_row_that_is_gone_is_not_saved(
    admin_client: Client, make: Callable[[Client], Page]
) -> None:
    url, _rows, field, stored = make(admin_client)
    sent = entered(admin_client, url) | {field: "other"}
    stored.all().delete()

    shown = admin_client.post(url, sent)

    assert shown.status_code == 200
    assert shown.context["errors"]
    assert not stored.exists()
