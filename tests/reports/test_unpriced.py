"""Answers that are not priced are reported as such, never as free."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from accounts.models import User
from llmchat.models import Budget, Message, Price, Provider, ProviderModel
from llmchat.models.budgets import today
from llmchat.reports import unpriced
from tests.support.admin_fixtures import make_conversation


@pytest.fixture
def provider(db: None) -> Provider:
    Provider.objects.all().delete()
    return Provider.objects.create(
        name="openai", label="OpenAI", protocol="openai", default_model="gpt-6-luna"
    )


@pytest.fixture
def staff(db: None) -> User:
    user = User.objects.create_user("boss", is_staff=True)
    names = ("view_message", "view_provider", "view_providermodel")
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return user


def answered(user: User, **fields: Any) -> Message:
    used = {"input_tokens": 7, "output_tokens": 3, "model": "gpt-6-luna-2026-10-01"}
    row = make_conversation(user, **(used | fields))
    return row.messages.get(role="assistant")


def test_a_model_whose_answers_are_not_priced_is_named_and_linked(provider, staff):
    ProviderModel.objects.create(provider=provider, name="gpt-6")
    row = ProviderModel.objects.create(provider=provider, name="gpt-6-luna")
    answered(staff)
    answered(staff)
    client = Client()
    client.force_login(staff)

    page = client.get("/admin/").content.decode()

    text = (
        "2 answers this month are not priced, because the model has no price:"
        " gpt-6-luna-2026-10-01 of OpenAI."
    )
    assert text in page
    assert reverse("admin:llmchat_providermodel_change", args=[row.pk]) in page


def test_a_model_without_a_row_leads_to_its_provider(provider, staff):
    answered(staff, model="own-1")
    ((text, url),) = unpriced.notices()
    assert text == (
        "1 answer this month is not priced, because the model has no price: own-1 of"
        " OpenAI."
    )
    assert url == reverse("admin:llmchat_provider_change", args=[provider.pk])


def test_a_provider_that_is_gone_leads_to_the_list(provider, staff):
    answered(staff, provider="former")
    ((text, url),) = unpriced.notices()
    assert "of former." in text
    assert url == reverse("admin:llmchat_provider_changelist")


def test_what_a_budget_in_dollars_refuses_is_told_before_anybody_asks(provider, staff):
    row = ProviderModel.objects.create(provider=provider, name="gpt-6-luna")
    Provider.objects.create(name="off", label="Off", protocol="openai", enabled=False)
    flat = {"input_price": 1, "output_price": 2}
    Provider.objects.create(name="flat", label="Flat", protocol="openai", **flat)
    Budget.objects.create(user=staff, unit="tokens", limit=1)
    assert unpriced.notices() == []

    cache.clear()
    Budget.objects.create(is_default=True, unit="dollars", limit=1)
    ((text, url),) = unpriced.notices()
    assert "default models: gpt-6-luna of OpenAI. Enter" in text
    assert url == reverse("admin:llmchat_providermodel_changelist")

    cache.clear()
    days = {"valid_from": today() - timedelta(days=9), "valid_until": today()}
    price = Price.objects.create(model=row, input=1, output=1, **days)
    assert len(unpriced.notices()) == 1  # the price is no longer valid

    cache.clear()
    price.valid_until = None
    price.save()
    assert unpriced.notices() == []


def test_nothing_of_the_last_month_is_told_once_it_is_over(
    provider, staff, monkeypatch
):
    answered(staff)
    assert unpriced.notices()
    monkeypatch.setattr(unpriced, "today", lambda: today() + timedelta(days=31))
    assert unpriced.notices() == []


@pytest.mark.parametrize(
    "fields",
    [
        {"cost": Decimal(0)},
        {"cost": Decimal(1)},
        {"input_tokens": 0, "output_tokens": 0},
        {"input_tokens": None, "output_tokens": None},
        {"state": "streaming"},
        {"provider": ""},
        {"ago": timedelta(days=32)},
    ],
    ids=str,
)
def test_nothing_else_is_told(provider, staff, fields):
    answered(staff, **fields)
    assert unpriced.notices() == []


def test_the_most_frequent_models_are_told_first_and_five_at_most(provider, staff):
    for number in range(7):
        for _ in range(2 if number == 6 else 1):
            answered(staff, model=f"m-{number}")
    told = [text for text, _url in unpriced.notices()]
    assert len(told) == 5
    assert "m-6" in told[0]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, "not priced"),
        ({"input_tokens": None, "output_tokens": None}, "cost not known"),
        ({"cost": Decimal(0)}, "$0.00"),
        ({"cost": Decimal("0.5")}, "$0.5000"),
        ({"state": "streaming", "input_tokens": None, "output_tokens": None}, ">-"),
    ],
)
def test_the_list_of_messages_says_what_is_not_priced(provider, staff, fields, word):
    answered(staff, **fields)
    client = Client()
    client.force_login(staff)
    page = client.get("/admin/llmchat/message/?role__exact=assistant").content.decode()
    cell = page.partition("field-dollars")[2].partition("</td>")[0]
    assert word in cell
