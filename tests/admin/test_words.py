"""What the pages of providers and keys, and the log-in, say."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils.formats import date_format

from accounts.models import User
from llmchat.models import Provider, ProviderAccess, ProviderKey
from tests.support.provider_forms import ADD, change_url
from tests.support.provider_keys import stored

KEYS = "/admin/llmchat/providerkey/"
THEN = datetime(2026, 3, 1, 9, 5, 7, tzinfo=UTC)


def page(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return unescape(response.content.decode())


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("nobody", "correct horse battery"),
        ("ann", "wrong horse battery"),
        ("ann", "correct horse battery"),
        ("gone", "correct horse battery"),
    ],
    ids=["unknown", "wrong", "no staff", "not active"],
)
@pytest.mark.django_db
def test_a_wrong_log_in_is_told_in_one_way(
    client: Client, username: str, password: str
) -> None:
    User.objects.create_user("ann", password="correct horse battery")
    User.objects.create_user(
        "gone", password="correct horse battery", is_staff=True, is_active=False
    )
    response = client.post(
        "/admin/login/", {"username": username, "password": password}
    )

    form = response.context["form"]
    assert form.non_field_errors() == ["Incorrect username or password"]
    assert "Incorrect username or password" in response.content.decode()
    assert "_auth_user_id" not in client.session


@pytest.mark.django_db
def test_an_operator_logs_in(client: Client) -> None:
    User.objects.create_superuser("boss", password="correct horse battery")
    form = {"username": "boss", "password": "correct horse battery"}
    client.post("/admin/login/?next=/admin/", form)
    assert "_auth_user_id" in client.session


def test_times_are_told_in_one_format_with_their_zone(
    boss: Client, provider: Provider
) -> None:
    stored(provider)
    ProviderKey.objects.update(last_used_at=THEN, resting_until=THEN)

    assert date_format(THEN, "DATETIME_FORMAT") == "2026-03-01 09:05:07 UTC"
    assert date_format(THEN, "SHORT_DATETIME_FORMAT") == "2026-03-01 09:05:07 UTC"
    assert page(boss, KEYS).count("2026-03-01 09:05:07 UTC") == 2
    assert page(boss, change_url(provider)).count("2026-03-01 09:05:07 UTC") == 1


def test_a_blank_field_is_said_to_keep_the_key(
    boss: Client, provider: Provider
) -> None:
    key = stored(provider)
    for url in (f"{KEYS}{key.pk}/change/", change_url(provider)):
        shown = page(boss, url)
        assert 'placeholder="Leave blank to keep the current key."' in shown
        assert "Stored encrypted and never shown again." in shown


def test_expert_settings_are_folded_away(boss: Client, provider: Provider) -> None:
    for url in (ADD, change_url(provider)):
        (folded,) = re.findall(r"<details>.*?</details>", page(boss, url), re.S)
        assert "Expert settings" in folded
        assert 'name="max_tokens_field"' in folded
        assert 'name="base_url"' not in folded


def test_expert_settings_are_unfolded_over_an_error(
    boss: Client, provider: Provider
) -> None:
    response = boss.post(change_url(provider), {"temperature_max": "-1"})
    shown = unescape(response.content.decode())
    assert "<details>" not in shown
    assert "Enter zero or more." in shown or "This field is required." in shown


def test_no_groups_are_everyone_or_superusers(boss: Client, provider: Provider) -> None:
    everyone = "Groups with access (empty: everyone)"
    superusers = "Groups with access (empty: superusers only)"
    assert everyone in page(boss, change_url(provider))
    assert everyone in page(boss, ADD)

    Provider.objects.filter(pk=provider.pk).update(restricted=True)
    ProviderAccess.objects.create(
        provider=provider, group=Group.objects.create(name="team")
    )
    assert superusers in page(boss, change_url(provider))
    # The wording is not kept from one request to the next.
    assert everyone in page(boss, ADD)


def test_names_of_the_api_are_shown_as_they_are(
    boss: Client, provider: Provider
) -> None:
    shown = page(boss, change_url(provider))
    for name in ("max_tokens", "max_completion_tokens", "system", "developer"):
        assert re.search(rf"<option[^>]*>\s*{name}\s*</option>", shown), name


@pytest.mark.parametrize("code", ["provider_auth", "provider_quota"])
def test_codes_are_put_in_words(boss: Client, provider: Provider, code: str) -> None:
    stored(provider, last_error=code)
    for url in (KEYS, change_url(provider)):
        shown = page(boss, url)
        assert code not in shown
        assert "refused: " in shown
