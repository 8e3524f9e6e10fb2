"""Provider keys: tested, rotated, checked, and never shown."""

from __future__ import annotations

import io
import logging
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db.models.signals import pre_save
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.views.debug import ExceptionReporter

from accounts.models import User
from accounts.tokens import issue_tokens
from llmchat.database import in_database
from llmchat.models import Provider, ProviderKey
from tests.support.admin_fixtures import make_conversation
from tests.support.provider_keys import CANARY, configure, post_provider, stored
from tests.support.upstream import Upstream, running_upstream

ADD = "/admin/llmchat/providerkey/add/"
LIST = "/admin/llmchat/providerkey/"


def messages(response: HttpResponse) -> list[str]:
    return [str(message) for message in response.context["messages"]]  # type: ignore[attr-defined]


# --- Trying a key ----------------------------------------------------------------


async def submit(
    boss: Client, provider: Provider, upstream: Upstream, url: str, data: dict[str, Any]
) -> list[str]:
    """Post a form while the provider is running, and return the admin's messages."""

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


async def tested(
    boss: Client, provider: Provider, upstream: Upstream
) -> tuple[ProviderKey, list[str]]:
    """Store a key and test it from the list; return it, and the admin's messages."""
    key = await in_database(stored, provider)
    data = {"action": "test_keys", "_selected_action": [key.pk]}
    said = await submit(boss, provider, upstream, LIST, data)
    await in_database(key.refresh_from_db)
    return key, said


async def test_a_refusal_is_told_in_words_and_remembered(
    boss: Client, provider: Provider
) -> None:
    async with running_upstream() as upstream:
        upstream.status = 401
        key, said = await tested(boss, provider, upstream)

    assert any("The provider refused the API key" in text for text in said)
    assert key.last_error == "provider_auth"
    entry = await in_database(LogEntry.objects.get)
    assert entry.change_message.startswith("Tested. The provider refused")


async def test_a_model_that_the_key_may_not_use_is_no_fault_of_the_key(
    boss: Client, provider: Provider
) -> None:
    async with running_upstream() as upstream:
        upstream.status = 403
        key, said = await tested(boss, provider, upstream)

    assert any("The provider refused the API key (403" in text for text in said)
    assert (key.last_error, key.resting_until) == ("", None)


async def test_a_provider_out_of_reach_is_no_fault_of_the_key(
    boss: Client, provider: Provider
) -> None:
    async with running_upstream() as upstream:
        pass
    key, said = await tested(boss, provider, upstream)

    assert any("connection refused. Check the port" in text for text in said)
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
    assert ProviderKey.objects.get().reveal() == CANARY
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
    assert key.reveal() == "sk-new-0123456789"
    assert (key.resting_until, key.last_used_at) == (None, None)


def test_a_new_value_is_written_with_all_that_tells_of_it(
    boss: Client, provider: Provider
) -> None:
    key = stored(provider, last_error="provider_auth")
    post_provider(boss, provider, key, value="another-0123456789-abcd")

    key.refresh_from_db()
    assert key.reveal() == "another-0123456789-abcd"
    assert (key.masked, key.last_error) == ("…abcd", "")


# --- Error reports ---------------------------------------------------------------


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
    """Post the form of a key whose saving fails, and return the error's report."""

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
