"""Provider keys: tried, rotated, checked, and nowhere to be seen."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.db.models.signals import pre_save
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.views.debug import ExceptionReporter

from accounts.models import User
from accounts.tokens import issue_tokens
from llmchat import checks
from llmchat.database import in_database
from llmchat.models import Provider, ProviderKey
from tests.support.admin_fixtures import make_conversation
from tests.support.upstream import Upstream, running_upstream

CANARY = "sk-canary-0123456789-wxyz"
ADD = "/admin/llmchat/providerkey/add/"
LIST = "/admin/llmchat/providerkey/"


@pytest.fixture
def boss(transactional_db: None) -> Client:
    """An operator whom other threads' connections see, too."""
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


@pytest.fixture
def provider(boss: Client) -> Provider:
    # The tests before may have emptied the table.
    fields = {
        "label": "OpenAI",
        "protocol": "openai",
        "default_model": "model-1",
        "max_tokens_field": "max_completion_tokens",
    }
    return Provider.objects.update_or_create(name="openai", defaults=fields)[0]


def stored(provider: Provider, value: str = CANARY, **fields: Any) -> ProviderKey:
    key = ProviderKey(provider=provider, **fields)
    key.set_value(value)
    key.save()
    return key


def messages(response: HttpResponse) -> list[str]:
    return [str(message) for message in response.context["messages"]]  # type: ignore[attr-defined]


def configure(settings: Any, *keys: str) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"encryption_keys": keys}


# --- Trying a key ----------------------------------------------------------------


async def submit(
    boss: Client, provider: Provider, upstream: Upstream, url: str, data: dict[str, Any]
) -> list[str]:
    """Post a form while the provider is there, and return what the admin says."""

    def post() -> list[str]:
        Provider.objects.filter(pk=provider.pk).update(base_url=upstream.base_url)
        return messages(boss.post(url, data, follow=True))

    return await in_database(post)


async def test_a_new_key_is_saved_and_tried(boss: Client, provider: Provider) -> None:
    data = {
        "provider": provider.pk,
        "name": "main",
        "value": CANARY,
        "enabled": "on",
        "llmchat_providerkey_save_and_test": "",
    }
    async with running_upstream() as upstream:
        said = await submit(boss, provider, upstream, ADD, data)

    assert any("main sk-…wxyz: Works: " in text and " ms." in text for text in said)
    assert upstream.authorizations == [f"bearer {CANARY}"]
    (request,) = upstream.requests
    assert len(request["messages"]) == 1
    assert request["max_completion_tokens"] <= 16


async def test_a_refusal_is_told_in_words_and_remembered(
    boss: Client, provider: Provider
) -> None:
    key = await in_database(stored, provider)
    data = {"action": "test_keys", "_selected_action": [key.pk]}
    async with running_upstream() as upstream:
        upstream.status = 401
        said = await submit(boss, provider, upstream, LIST, data)

    assert any("The provider refused the API key" in text for text in said)
    await in_database(key.refresh_from_db)
    assert key.last_error == "provider_auth"
    entry = await in_database(LogEntry.objects.get)
    assert entry.change_message.startswith("Tested. The provider refused")


async def test_a_model_that_the_key_may_not_use_is_no_fault_of_the_key(
    boss: Client, provider: Provider
) -> None:
    key = await in_database(stored, provider)
    data = {"action": "test_keys", "_selected_action": [key.pk]}
    async with running_upstream() as upstream:
        upstream.status = 403
        said = await submit(boss, provider, upstream, LIST, data)

    assert any("The provider refused the API key (403" in text for text in said)
    await in_database(key.refresh_from_db)
    assert (key.last_error, key.resting_until) == ("", None)


async def test_a_provider_out_of_reach_is_no_fault_of_the_key(
    boss: Client, provider: Provider
) -> None:
    key = await in_database(stored, provider)
    data = {"action": "test_keys", "_selected_action": [key.pk]}
    async with running_upstream() as upstream:
        pass
    said = await submit(boss, provider, upstream, LIST, data)

    assert any("not available" in text for text in said)
    await in_database(key.refresh_from_db)
    assert key.last_error == ""


def test_a_key_that_cannot_be_read_is_not_sent(
    boss: Client, provider: Provider, settings: Any
) -> None:
    key = stored(provider)
    configure(settings, Fernet.generate_key().decode())

    data = {"action": "test_keys", "_selected_action": [key.pk]}
    said = messages(boss.post(LIST, data, follow=True))

    assert any("cannot be read" in text for text in said)


def test_a_look_at_the_keys_tries_none(boss: Client, provider: Provider) -> None:
    key = stored(provider)
    boss.get(LIST, {"action": "test_keys", "_selected_action": key.pk})
    boss.get(f"{LIST}{key.pk}/change/", {"llmchat_providerkey_save_and_test": ""})

    key.refresh_from_db()
    assert key.last_used_at is None
    assert not LogEntry.objects.exists()


def test_the_address_that_keys_are_sent_to_is_for_administrators(
    provider: Provider, client: Client
) -> None:
    operator = User.objects.create_user("operator", is_staff=True)
    names = ("view_provider", "change_provider")
    operator.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(operator)
    url = reverse("admin:llmchat_provider_change", args=[provider.pk])
    form = client.get(url).context["adminform"].form

    assert "default_model" in form.fields
    assert not {"base_url", "protocol", "name", "embedded"} & set(form.fields)


def test_a_new_provider_is_for_administrators(
    boss: Client, db: None, client: Client
) -> None:
    operator = User.objects.create_user("operator", is_staff=True)
    operator.user_permissions.set(Permission.objects.filter(codename="add_provider"))
    client.force_login(operator)
    url = reverse("admin:llmchat_provider_add")

    assert client.get(url).status_code == 403
    assert boss.get(url).status_code == 200


def test_a_key_stays_with_its_provider(boss: Client, provider: Provider) -> None:
    key = stored(provider)
    other = Provider.objects.create(name="other", label="Other", protocol="openai")
    data = {"provider": other.pk, "name": "moved", "value": "", "enabled": "on"}
    boss.post(f"{LIST}{key.pk}/change/", data)

    key.refresh_from_db()
    assert (key.name, key.provider_id) == ("moved", provider.pk)


# --- Nowhere to be seen ----------------------------------------------------------


def test_a_key_is_on_no_page_in_no_answer_no_log_and_no_dump(
    boss: Client, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    user = User.objects.create_user("ann")
    conversation = make_conversation(user)
    data = {"provider": provider.pk, "name": "main", "value": CANARY, "enabled": "on"}
    seen = [boss.post(ADD, data, follow=True).content.decode()]
    key = ProviderKey.objects.get()
    data["name"], data["value"] = "renamed", ""
    seen.append(
        boss.post(f"{LIST}{key.pk}/change/", data, follow=True).content.decode()
    )
    assert ProviderKey.objects.get().value() == CANARY
    pages = (
        "/admin/",
        LIST,
        f"{LIST}{key.pk}/change/",
        f"{LIST}{key.pk}/history/",
        f"{LIST}{key.pk}/delete/",
        f"{LIST}?q={CANARY}x",
        "/admin/llmchat/provider/",
        f"/admin/llmchat/provider/{provider.pk}/change/",
        f"/admin/llmchat/provider/{provider.pk}/history/",
        f"/admin/llmchat/conversation/{conversation.pk}/change/",
    )
    seen += [
        boss.get(page).content.decode().replace(f"{CANARY}x", "") for page in pages
    ]
    bearer = {"Authorization": f"Bearer {issue_tokens(user=user).access}"}
    seen.append(boss.get("/llm/providers", headers=bearer).content.decode())
    dump = io.StringIO()
    call_command("dumpdata", stdout=dump)
    seen += [dump.getvalue(), caplog.text, repr(key), str(key)]
    seen += LogEntry.objects.values_list("change_message", flat=True)

    assert "sk-…wxyz" in seen[0]
    assert "renamed" in seen[1]
    assert [text for text in seen if "0123456789" in text] == []


# --- Encryption keys -------------------------------------------------------------


def test_rotation_encrypts_with_the_first_key(
    provider: Provider, settings: Any
) -> None:
    (old,) = settings.LLMCHAT["encryption_keys"]
    new = Fernet.generate_key().decode()
    key = stored(provider)
    configure(settings, new, old)

    output = io.StringIO()
    call_command("rotate_keys", stdout=output)

    assert output.getvalue() == "Re-encrypted 1 provider keys.\n"
    configure(settings, new)
    assert ProviderKey.objects.get(pk=key.pk).value() == CANARY


def test_rotation_leaves_what_it_cannot_read_and_says_so(
    provider: Provider, settings: Any
) -> None:
    (old,) = settings.LLMCHAT["encryption_keys"]
    unread = stored(provider)
    new = Fernet.generate_key().decode()
    configure(settings, new)
    read = stored(provider)

    with pytest.raises(CommandError, match=rf"do not drop a key yet: {unread.pk} "):
        call_command("rotate_keys", stdout=io.StringIO())

    assert ProviderKey.objects.get(pk=read.pk).value() == CANARY
    configure(settings, old)
    assert ProviderKey.objects.get(pk=unread.pk).value() == CANARY


@pytest.mark.parametrize("keys", [(), (Fernet.generate_key().decode(),)])
def test_a_check_names_the_keys_that_nothing_decrypts(
    provider: Provider, settings: Any, keys: tuple[str, ...]
) -> None:
    key = stored(provider)
    assert checks.check_stored_keys(None) == []
    configure(settings, *keys)

    (message,) = checks.check_stored_keys(None)

    assert message.id == "llmchat.W002"
    assert not message.is_serious()
    assert f"1 of 1 stored provider keys (numbers {key.pk})" in message.msg


def checked() -> None:
    call_command("check", stdout=io.StringIO(), stderr=io.StringIO())


def test_only_check_fails_over_a_wrong_encryption_key(
    provider: Provider, settings: Any
) -> None:
    key = stored(provider)
    checked()
    configure(settings, Fernet.generate_key().decode())

    with pytest.raises(SystemCheckError, match=r"llmchat\.E004.* decrypts none of"):
        checked()
    for command in ("migrate", "create_demo"):
        call_command(command, skip_checks=False, verbosity=0, stdout=io.StringIO())
    with pytest.raises(CommandError, match="do not drop a key yet"):
        call_command("rotate_keys", skip_checks=False, stdout=io.StringIO())
    key.enabled = False
    key.save()
    checked()


def test_one_key_that_cannot_be_read_fails_no_check(
    provider: Provider, settings: Any
) -> None:
    (old,) = settings.LLMCHAT["encryption_keys"]
    stored(provider)
    configure(settings, Fernet.generate_key().decode())
    stored(provider)

    checked()
    configure(settings, old)
    checked()


def test_saving_under_a_wrong_encryption_key_loses_nothing(
    boss: Client, provider: Provider, settings: Any
) -> None:
    key = stored(provider)
    data = {"provider": provider.pk, "name": "renamed", "value": "", "enabled": "on"}
    configure(settings, Fernet.generate_key().decode())
    boss.post(f"{LIST}{key.pk}/change/", data)

    saved = ProviderKey.objects.get()
    assert saved.name == "renamed"
    assert saved.encrypted_value == key.encrypted_value
    front = boss.get("/admin/").content.decode()
    assert "cannot be decrypted" in front


@contextmanager
def rotated_meanwhile(settings: Any) -> Iterator[None]:
    """Rotate the keys between the reading and the writing of a form."""
    (old,) = settings.LLMCHAT["encryption_keys"]
    new = Fernet.generate_key().decode()

    def rotate(**kwargs: Any) -> None:
        pre_save.disconnect(rotate, sender=ProviderKey)
        configure(settings, new, old)
        call_command("rotate_keys", stdout=io.StringIO())

    pre_save.connect(rotate, sender=ProviderKey)
    try:
        yield
    finally:
        assert not pre_save.disconnect(rotate, sender=ProviderKey), "nothing saved"
    configure(settings, new)


def test_a_rotation_is_not_undone_by_the_key_s_page(
    boss: Client, provider: Provider, settings: Any
) -> None:
    key = stored(provider)
    with rotated_meanwhile(settings):
        boss.post(f"{LIST}{key.pk}/change/", {"name": "renamed", "enabled": "on"})

    key.refresh_from_db()
    assert (key.name, key.value()) == ("renamed", CANARY)


def test_a_rotation_is_not_undone_by_the_provider_s_page(
    boss: Client, provider: Provider, settings: Any
) -> None:
    key = stored(provider, last_error="provider_auth")
    with rotated_meanwhile(settings):
        post_provider(boss, provider, key, name="renamed")

    key.refresh_from_db()
    assert (key.name, key.value()) == ("renamed", CANARY)
    assert key.last_error == "provider_auth"


def test_a_new_value_ends_the_rest_of_the_old_one(
    boss: Client, provider: Provider
) -> None:
    until = (timezone.now() + timedelta(minutes=5)).replace(microsecond=0)
    key = stored(provider)
    ProviderKey.objects.update(resting_until=until, last_used_at=until)
    data = {
        "provider": provider.pk,
        "name": "",
        "value": "sk-new-0123456789",
        "enabled": "on",
        "resting_until_0": f"{until:%Y-%m-%d}",
        "resting_until_1": f"{until:%H:%M:%S}",
    }
    boss.post(f"{LIST}{key.pk}/change/", data)

    key.refresh_from_db()
    assert key.value() == "sk-new-0123456789"
    assert (key.resting_until, key.last_used_at) == (None, None)


def test_a_new_value_is_written_with_all_that_tells_of_it(
    boss: Client, provider: Provider
) -> None:
    key = stored(provider, last_error="provider_auth")
    post_provider(boss, provider, key, value="another-0123456789-abcd")

    key.refresh_from_db()
    assert key.value() == "another-0123456789-abcd"
    assert (key.masked, key.last_error) == ("…abcd", "")


def post_provider(
    boss: Client, provider: Provider, key: ProviderKey, **entered: str
) -> None:
    """Save the provider's page, with its key on it."""
    url = reverse("admin:llmchat_provider_change", args=[provider.pk])
    initial = boss.get(url).context["adminform"].form.initial
    data = {name: value for name, value in initial.items() if value}
    data |= {
        "keys-TOTAL_FORMS": 1,
        "keys-INITIAL_FORMS": 1,
        "keys-0-provider": provider.pk,
        "keys-0-id": key.pk,
        "keys-0-enabled": "on",
        "access-TOTAL_FORMS": 0,
        "access-INITIAL_FORMS": 0,
    }
    data |= {f"keys-0-{name}": value for name, value in entered.items()}
    assert boss.post(url, data).status_code == 302


# --- The page of a fault ---------------------------------------------------------


@pytest.mark.parametrize("debug", [True, False])
def test_a_fault_s_report_does_not_show_the_key_that_was_entered(
    boss: Client, provider: Provider, settings: Any, debug: bool
) -> None:
    settings.DEBUG = debug
    data = {"provider": provider.pk, "value": CANARY, "keys-0-value": CANARY}

    report = report_of_a_fault(boss, data)

    assert "breaks" in report
    assert "keys-0-value" in report
    assert CANARY not in report


def report_of_a_fault(boss: Client, data: dict[str, Any]) -> str:
    """Post the form for a key, have its saving fail, and return what is said."""

    def fail(**kwargs: Any) -> None:
        raise RuntimeError("it breaks")

    boss.raise_request_exception = False
    pre_save.connect(fail, sender=ProviderKey)
    try:
        response = boss.post(ADD, data)
    finally:
        pre_save.disconnect(fail, sender=ProviderKey)
    assert response.status_code == 500
    request, fault = response.wsgi_request, response.exc_info  # type: ignore[attr-defined]
    reporter = ExceptionReporter(request, *fault)
    return reporter.get_traceback_html() + reporter.get_traceback_text()
