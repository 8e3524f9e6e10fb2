"""What each role sees on the front page, and that it can follow every link there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.cache import cache
from django.test import Client

from accounts.models import User
from llmchat.books.workers import worker_id
from llmchat.models import Provider, ProviderModel
from llmchat.reports import usage
from tests.support.admin_fixtures import past_conversation, store
from tests.support.roles import migrate

CSV = "/admin/llmchat/message/usage/{}/csv/"
TEXTS = ("Secret title", "Secret prompt", "Secret answer")
PRICE = "because the model has no price"


@pytest.fixture(autouse=True)
def past(db: None) -> None:
    """Store answers of all kinds, which the page counts, lists and warns about."""
    migrate()
    cache.clear()
    Provider.objects.all().delete()
    openai = Provider.objects.create(
        name="openai", label="OpenAI", protocol="openai", default_model="model-1"
    )
    ProviderModel.objects.create(provider=openai, name="model-1")
    ann = User.objects.create_user("ann")
    said = (("user", TEXTS[1]), ("assistant", TEXTS[2]))
    failed: dict[str, Any] = {"state": "error", "error_code": "model_not_found"}
    made = []
    for ago in (0, 5, 20, 80):
        old: dict[str, Any] = {"title": TEXTS[0], "ago": timedelta(days=ago)}
        row, messages = past_conversation(ann, *said, cost=Decimal(3), **old)
        row.cost, row.turn_count = Decimal(3), 1
        made += [
            (row, messages),
            past_conversation(ann, *said, input_tokens=1, **old),
            past_conversation(ann, *said, provider="former", input_tokens=1, **old),
            *(past_conversation(ann, *said, **failed, **old) for _ in range(3)),
        ]
    made.append(past_conversation(ann, *said, state="streaming", worker=worker_id()))
    store(made)


def client_of(*permissions: str, role: str = "") -> Client:
    user = User.objects.create_user("someone", is_staff=True)
    user.groups.set(Group.objects.filter(name=role))
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def pages(client: Client) -> Iterator[str]:
    for days in usage.RANGES:
        response = client.get("/admin/", {"days": days})
        assert response.status_code == 200
        yield response.text


def links_of(pages: Iterator[str]) -> set[str]:
    link = re.compile(r'<a\s[^>]*href="([^"]*)"')
    found = {url for page in pages for url in link.findall(page)}
    return {unescape(url) for url in found if url.startswith(("/admin/", "?"))}


@pytest.mark.parametrize("role", ["Billing", "Operator", "Support"])
def test_every_link_of_the_page_may_be_followed(role: str) -> None:
    client = client_of(role=role)
    urls = links_of(pages(client))

    answers = {
        url: client.get(f"/admin/{url}" if url.startswith("?") else url).status_code
        for url in urls
    }

    assert {url: code for url, code in answers.items() if code != 200} == {}
    assert {CSV.format(days) for days in usage.RANGES} <= urls
    lists = {url for url in urls if url.startswith("/admin/llmchat/message/?")}
    assert bool(lists) == (role != "Billing")


def test_billing_finds_no_word_of_a_conversation() -> None:
    client = client_of(role="Billing")
    files = (client.get(CSV.format(days)).text for days in usage.RANGES)
    shown = [*pages(client), *files]
    for text in shown:
        assert "ann" in text
        assert not [secret for secret in TEXTS if secret in text]
        assert "op conversation" not in text
    # The role that enters the prices sees which one is missing.
    assert PRICE in shown[0]


def test_support_finds_the_titles_and_is_told_of_prices() -> None:
    client = client_of(role="Support")
    for text in pages(client):
        assert TEXTS[0] in text
        assert PRICE in text
    assert TEXTS[0] in client.get(CSV.format(7)).text


def test_titles_are_for_who_may_view_conversations_not_only_messages() -> None:
    client = client_of("view_message")
    assert TEXTS[0] not in "".join(pages(client))
    assert TEXTS[0] not in client.get(CSV.format(7)).text


def test_each_column_of_the_tables_has_a_name() -> None:
    for page in pages(client_of(role="Operator")):
        assert not re.findall(r"<th[^>]*>\s*</th>", page)
