"""The status of a provider, from what is stored: no page asks a provider."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from accounts.models import User
from llmchat.access import keys
from llmchat.access.status import State, status_of
from llmchat.models import Provider, ProviderKey
from llmchat.providers.registry import LOCAL_MODELS
from tests.support.provider_forms import LIST, change_url
from tests.support.provider_keys import CANARY, configure, stored


@pytest.fixture
def acme(db: None) -> Provider:
    return Provider.objects.create(
        name="acme",
        label="Acme",
        protocol="openai",
        base_url="https://acme.invalid/v1",
        default_model="model-1",
    )


@pytest.fixture
def openai(db: None, settings: Any) -> Provider:
    """A provider that takes its key from the environment."""
    settings.LLMCHAT = settings.LLMCHAT | {"openai_api_key": CANARY}
    fields = {"label": "OpenAI", "protocol": "openai", "default_model": "model-1"}
    return Provider.objects.update_or_create(name="openai", defaults=fields)[0]


def shown(client: Client, row: Provider) -> tuple[str, str]:
    """Return status and key from the list; check that the provider's page agrees."""
    page = client.get(LIST, {"q": row.name}).content.decode()
    cells = dict(
        re.findall(r'class="[^"]*field-(\w+)[^"]*"[^>]*>(.*?)</t[dh]>', page, re.S)
    )
    status, source = (_text(cells[name]) for name in ("status", "key_source"))
    top = client.get(change_url(row)).content.decode()
    facts = re.findall(r"<dd>(.*?)</dd>", top, re.S)
    assert [_text(fact) for fact in facts[:2]] == [status, source]
    return status, source


def _text(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def test_a_stored_key_makes_ready(admin_client: Client, acme: Provider) -> None:
    assert shown(admin_client, acme) == ("no key", "none")
    stored(acme)
    assert shown(admin_client, acme) == ("ready", "from the admin")
    stored(acme, "sk-another-0123456789")
    assert shown(admin_client, acme) == ("ready", "from the admin (2 keys)")


def test_a_key_of_the_environment(admin_client: Client, openai: Provider) -> None:
    assert shown(admin_client, openai) == ("ready", "from the environment")
    stored(openai)
    assert shown(admin_client, openai) == ("ready", "from the admin")


def test_no_need_of_a_key(admin_client: Client, acme: Provider) -> None:
    Provider.objects.filter(pk=acme.pk).update(needs_key=False)
    assert shown(admin_client, acme) == ("ready", "not needed")


def test_disabled(admin_client: Client, acme: Provider) -> None:
    stored(acme)
    Provider.objects.filter(pk=acme.pk).update(enabled=False)
    assert shown(admin_client, acme) == ("disabled", "from the admin")


def test_no_address(admin_client: Client, acme: Provider) -> None:
    Provider.objects.filter(pk=acme.pk).update(base_url="")
    assert shown(admin_client, acme)[0] == "no address"


def test_all_keys_disabled(admin_client: Client, acme: Provider) -> None:
    stored(acme, enabled=False)
    assert shown(admin_client, acme) == ("no key: all keys are disabled", "none")


def test_a_key_that_cannot_be_decrypted(
    admin_client: Client, acme: Provider, settings: Any
) -> None:
    stored(acme)
    configure(settings, Fernet.generate_key().decode())
    assert shown(admin_client, acme) == ("no key: key cannot be decrypted", "none")


def test_a_key_that_cannot_be_decrypted_is_none_that_was_not_refused(
    admin_client: Client, acme: Provider
) -> None:
    stored(acme, last_error="provider_auth")
    unreadable = stored(acme)
    ProviderKey.objects.filter(pk=unreadable.pk).update(encrypted_value="gAAAAnonsense")
    refused = "key refused: wrong key, 1 of 2 keys cannot be decrypted"
    assert shown(admin_client, acme) == (refused, "from the admin")

    stored(acme)
    both = "ready: 1 of 3 keys refused, 1 of 3 keys cannot be decrypted"
    assert shown(admin_client, acme) == (both, "from the admin (2 keys)")

    # An error from before the key became unreadable no longer matters.
    ProviderKey.objects.filter(pk=unreadable.pk).update(last_error="provider_quota")
    assert shown(admin_client, acme) == (both, "from the admin (2 keys)")


def test_a_stored_key_that_is_not_used_for_that_of_the_environment_is_told(
    admin_client: Client, openai: Provider
) -> None:
    stored(openai)
    ProviderKey.objects.update(encrypted_value="gAAAAnonsense")
    told = "ready: 1 of 1 keys cannot be decrypted"
    assert shown(admin_client, openai) == (told, "from the environment")


def test_the_reason_of_a_refusal_stays_after_the_rest(
    admin_client: Client, acme: Provider
) -> None:
    key = stored(acme)
    keys.note([keys.stored_key(key)], {keys.ident(key): "provider_auth"}, worked=False)
    assert shown(admin_client, acme)[0] == "key refused: wrong key"

    ProviderKey.objects.update(
        resting_until=timezone.now() - timedelta(hours=1), last_error="provider_quota"
    )
    assert shown(admin_client, acme)[0] == "key refused: no quota left"

    keys.note([keys.stored_key(key)], {}, worked=True)
    assert shown(admin_client, acme)[0] == "ready"


def test_one_key_of_two_is_refused(admin_client: Client, acme: Provider) -> None:
    stored(acme, last_error="provider_auth")
    stored(acme)
    assert shown(admin_client, acme)[0] == "ready: 1 of 2 keys refused"


def test_a_key_of_the_environment_is_refused(openai: Provider) -> None:
    (key,) = keys.ring(openai).keys
    keys.note([key], {key.ident: "provider_auth"}, worked=False)
    try:
        assert status_of(openai).state is State.REFUSED
    finally:
        keys.note([key], {}, worked=True)
    assert status_of(openai).state is State.READY

    openai.test_problem = "provider_quota"
    assert status_of(openai).reason == "no quota left"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("dns", "unreachable: host not found"),
        ("refused", "unreachable: connection refused"),
        ("certificate", "unreachable: certificate not trusted"),
        ("not_found", "unreachable: wrong path"),
        ("provider_timeout", "unreachable: no answer in time"),
        ("model_not_found", "not working: model not found"),
        ("bad_request", "not working: request refused"),
        ("something_new", "not working: failed"),
    ],
)
def test_what_the_last_test_found(
    admin_client: Client, acme: Provider, code: str, status: str
) -> None:
    now = timezone.now()
    stored(acme)
    Provider.objects.filter(pk=acme.pk).update(test_problem=code, tested_at=now)
    assert shown(admin_client, acme)[0] == status
    page = admin_client.get(change_url(acme)).content.decode()
    assert f"<dd>{now:%Y-%m-%d %H:%M:%S} UTC</dd>" in page

    # The key has been used since the test, and worked.
    ProviderKey.objects.update(last_used_at=now + timedelta(seconds=1))
    assert shown(admin_client, acme)[0] == "ready"


def test_the_built_in_model(admin_client: Client, acme: Provider) -> None:
    Provider.objects.filter(pk=acme.pk).update(
        embedded=True, needs_key=False, base_url="", default_model=LOCAL_MODELS[0]
    )
    assert shown(admin_client, acme) == ("ready", "not needed")


@pytest.mark.parametrize("count", [1, 12])
def test_the_list_reads_the_keys_of_all_providers_at_once(
    admin_client: Client, acme: Provider, django_assert_max_num_queries: Any, count: int
) -> None:
    for _ in range(count):
        stored(acme)
    with django_assert_max_num_queries(12):
        assert admin_client.get(LIST).status_code == 200


def test_who_may_not_view_keys_is_not_told_where_they_come_from(
    client: Client, acme: Provider
) -> None:
    stored(acme)
    operator = User.objects.create_user("operator", is_staff=True)
    operator.user_permissions.set(Permission.objects.filter(codename="view_provider"))
    client.force_login(operator)

    for url in (LIST, change_url(acme)):
        page = client.get(url).content.decode()
        assert "ready" in page
        assert "from the admin" not in page
