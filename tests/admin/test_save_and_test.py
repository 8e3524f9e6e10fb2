"""*Save and test*: one small request, and advice in words on its outcome."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from accounts.models import User
from llmchat.access import keytest
from llmchat.database import in_database
from llmchat.models import Provider, ProviderKey
from llmchat.models.revision import current_revision, ensure_revision
from llmchat.providers import retry
from llmchat.providers.registry import LOCAL_MODELS
from llmchat.providers.types import Timeouts
from tests.emulator.application import emulator
from tests.emulator.request import Request
from tests.emulator.response import Response
from tests.emulator.server import Emulator
from tests.support.certificates import self_signed, server_context
from tests.support.live import free_port
from tests.support.provider_forms import (
    LIST,
    SAVE_AND_TEST,
    change_url,
    messages_of,
    submit,
)
from tests.support.provider_keys import CANARY, stored

REFUSED = "sk-bad-0123456789-wxyz"
KEY_FORM = "/admin/llmchat/providerkey/add/"


@pytest.fixture(autouse=True)
def _soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_BASE_DELAY_S", 0.01)


@pytest.fixture(scope="module")
def server_tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return server_context(self_signed(tmp_path_factory.mktemp("tls")))


async def saved(
    boss: Client, provider: Provider, base_url: str, **changes: Any
) -> HttpResponse:
    """Press the button on the provider's page; return the page that follows."""

    def press() -> HttpResponse:
        known = {"default_model": "scenario-short", "base_url": base_url}
        data = {**known, **SAVE_AND_TEST, **changes}
        return submit(boss, change_url(provider), **data)

    response = await in_database(press)
    await in_database(provider.refresh_from_db)
    return response


def said(response: HttpResponse, provider: Provider) -> str:
    """Return the message with the outcome of the test."""
    begin = f"{provider.label}: "
    (text,) = [text for text in messages_of(response) if text.startswith(begin)]
    return text.removeprefix(begin)


async def test_a_new_key_is_entered_and_tested_on_the_provider_s_page(
    boss: Client, provider: Provider
) -> None:
    async with emulator() as upstream:
        fields = {"keys-0-name": "main", "keys-0-value": CANARY}
        response = await saved(boss, provider, upstream.url, **fields)

    assert response.redirect_chain == [(change_url(provider), 302)]  # type: ignore[attr-defined]
    assert said(response, provider).startswith("Works: ")
    (request,) = upstream.requests
    assert request.headers["authorization"] == f"Bearer {CANARY}"
    assert request.body["max_completion_tokens"] <= 16
    assert (provider.test_problem, provider.tested_at is None) == ("", False)
    page = response.content.decode()
    assert "ready" in page
    assert CANARY not in page


async def test_a_server_without_keys_is_tested_without_one(
    boss: Client, provider: Provider
) -> None:
    async with emulator(keyless=True) as upstream:
        response = await saved(boss, provider, f"{upstream.url}/v1", needs_key=None)

    assert said(response, provider).startswith("Works: ")


@pytest.mark.parametrize("scenario", ["starved", "fail-eaten"])
async def test_a_model_that_thinks_all_the_tokens_away_works(
    boss: Client, provider: Provider, scenario: str
) -> None:
    async with emulator() as upstream:
        model = f"scenario-{scenario}"
        fields = {"keys-0-value": CANARY, "default_model": model}
        response = await saved(boss, provider, upstream.url, **fields)
        assert len(upstream.requests) == 1

    assert said(response, provider).startswith("Works: ")


async def test_what_is_refused_by_the_form_is_not_tested(
    boss: Client, provider: Provider
) -> None:
    async with emulator() as upstream:
        await saved(boss, provider, upstream.url, default_model="")
        assert upstream.requests == []
    assert provider.tested_at is None


@pytest.mark.parametrize(
    ("model", "words", "advice", "problem"),
    [
        (
            "scenario-fail-model",
            "does not offer the model scenario-fail-model (404",
            "Check the spelling of the default model.",
            "model_not_found",
        ),
        (
            "scenario-fail-quota",
            "no quota or balance left (429",
            "Add credit or raise the limit",
            "provider_quota",
        ),
        (
            "scenario-fail-permission",
            "refused the API key (403",
            "may lack permission for scenario-fail-permission",
            "forbidden",
        ),
        (
            "scenario-fail-unprocessable",
            "did not accept the request (422",
            "the expert settings",
            "bad_request",
        ),
        (
            "scenario-fail-rate-silent",
            "is limiting requests (429",
            "Wait a minute",
            "provider_rate_limited",
        ),
        (
            "scenario-fail-unavailable",
            "not available (503",
            "overloaded or down",
            "provider_unavailable",
        ),
        ("scenario-fail-server", "failed to answer (500", "later", "provider_error"),
        (
            "scenario-html",
            "is not a chat API of this protocol",
            "Check the base URL and the protocol.",
            "no_api",
        ),
    ],
)
async def test_a_failure_is_told_in_words_with_what_to_do(
    boss: Client,
    provider: Provider,
    model: str,
    words: str,
    advice: str,
    problem: str,
) -> None:
    await in_database(stored, provider)
    async with emulator() as upstream:
        response = await saved(boss, provider, upstream.url, default_model=model)

    text = said(response, provider)
    assert words in text
    assert advice in text
    assert provider.test_problem == problem
    entry = await in_database(LogEntry.objects.latest, "pk")
    assert entry.change_message == f"Tested. {text}"


async def test_a_wrong_key_is_blamed_and_not_repeated(
    boss: Client, provider: Provider
) -> None:
    async with emulator() as upstream:
        fields = {"keys-0-value": REFUSED}
        response = await saved(boss, provider, upstream.url, **fields)

    text = said(response, provider)
    assert text.startswith("The provider refused the API key (401 invalid_api_key")
    assert "Check that the whole key was copied" in text
    key = await in_database(ProviderKey.objects.get)
    assert key.last_error == "provider_auth"
    page = response.content.decode()
    assert "key refused: wrong key" in page
    assert "0123456789" not in page


async def test_one_wrong_key_of_two_is_told(boss: Client, provider: Provider) -> None:
    await in_database(stored, provider, REFUSED)
    await in_database(stored, provider)
    async with emulator() as upstream:
        response = await saved(boss, provider, upstream.url)

    text = said(response, provider)
    assert text.startswith("Works: ")
    assert text.endswith("However, the provider refused 1 of 2 keys.")
    assert "ready: 1 of 2 keys refused" in response.content.decode()


async def test_a_key_that_is_missing_after_all(
    boss: Client, provider: Provider
) -> None:
    async with emulator() as upstream:
        response = await saved(boss, provider, upstream.url, needs_key=None)

    text = said(response, provider)
    assert "requires a key (401" in text
    assert "Turn on “Needs a key”" in text
    assert provider.test_problem == "key_wanted"


async def test_without_a_key_nobody_is_asked(boss: Client, provider: Provider) -> None:
    async with emulator() as upstream:
        response = await saved(boss, provider, upstream.url)
        assert upstream.requests == []

    assert said(response, provider).startswith("There is no key to test with.")


# --- The way there ---------------------------------------------------------------


async def told_of(boss: Client, provider: Provider, base_url: str) -> str:
    """Save another address, without a key; return the message with the outcome."""
    response = await saved(boss, provider, base_url, needs_key=None)
    return said(response, provider)


async def test_nobody_listens(boss: Client, provider: Provider) -> None:
    port = free_port()
    text = await told_of(boss, provider, f"http://localhost:{port}/v1")

    assert text.startswith(f"Nothing listens at localhost:{port}: connection refused.")
    assert "Inside a container" in text
    assert provider.test_problem == "refused"


async def test_no_such_host(boss: Client, provider: Provider) -> None:
    text = await told_of(boss, provider, "http://nobody.invalid:8000/v1")

    assert text.startswith("There is no host named nobody.invalid:8000.")
    assert provider.test_problem == "dns"


async def test_a_certificate_of_nobody_s(
    boss: Client, provider: Provider, server_tls: ssl.SSLContext
) -> None:
    async with emulator(tls=server_tls) as upstream:
        text = await told_of(boss, provider, upstream.url)

    assert "is not trusted (TLS)" in text
    assert "SSL_CERT_FILE" in text
    assert provider.test_problem == "certificate"


async def test_no_tls_at_all(boss: Client, provider: Provider) -> None:
    async def refuse(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1") as plain:
        port = plain.sockets[0].getsockname()[1]
        text = await told_of(boss, provider, f"https://127.0.0.1:{port}/v1")

    assert "begin the base URL with http://" in text
    assert provider.test_problem == "tls"


async def test_a_wrong_path(boss: Client, provider: Provider) -> None:
    async with emulator() as upstream:
        text = await told_of(boss, provider, f"{upstream.url}/api")

    assert "answers, but not at this path (404)" in text
    assert "most end in /v1" in text
    assert provider.test_problem == "not_found"


async def test_a_redirect_is_not_followed(boss: Client, provider: Provider) -> None:
    def elsewhere(request: Request, number: int) -> Response:
        headers = {"location": "https://elsewhere.example.com/"}
        return Response([], 301, headers=headers, framing="length")

    async with Emulator(elsewhere) as upstream:
        text = await told_of(boss, provider, upstream.url)

    assert "redirects to another address (301)" in text
    assert provider.test_problem == "redirect"


async def test_nobody_waits_for_ever(
    boss: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Timeouts(connect_s=5, first_token_s=0.3, idle_s=0.3, total_s=0.5)
    monkeypatch.setattr(keytest, "_TIMEOUTS", short)
    async with emulator(keyless=True) as upstream:
        changes = {"default_model": "scenario-slow-headers", "needs_key": None}
        response = await saved(boss, provider, upstream.url, **changes)

    text = said(response, provider)
    assert "did not answer in time" in text
    assert "still loading the model" in text
    assert provider.test_problem == "provider_timeout"


async def test_the_libraries_tell_the_same(
    boss: Client,
    provider: Provider,
    server_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # With any proxy set, even for other addresses, requests use httpx and aiohttp.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    port = free_port()
    await told_of(boss, provider, f"http://127.0.0.1:{port}/v1")
    assert provider.test_problem == "refused"

    await told_of(boss, provider, "http://nobody.invalid/v1")
    assert provider.test_problem == "dns"

    async with emulator(tls=server_tls) as upstream:
        await told_of(boss, provider, upstream.url)
    assert provider.test_problem == "certificate"


# --- The other buttons -----------------------------------------------------------


async def test_a_selection_is_tested_on_the_list(
    boss: Client, provider: Provider
) -> None:
    def press(up: str) -> HttpResponse:
        fields = {"protocol": "openai", "default_model": "scenario-short"}
        rows = [
            Provider.objects.create(
                name=name, label=name, base_url=url, needs_key=False, **fields
            )
            for name, url in (("up", up), ("down", "http://nobody.invalid/v1"))
        ]
        data = {"action": "test_providers", "_selected_action": [r.pk for r in rows]}
        return boss.post(LIST, data, follow=True)

    async with emulator(keyless=True) as upstream:
        response = await in_database(press, f"{upstream.url}/v1")

    texts = messages_of(response)
    assert any(text.startswith("up: Works: ") for text in texts)
    assert any(text.startswith("down: There is no host") for text in texts)


def test_at_most_five_are_tested_at_once(boss: Client, provider: Provider) -> None:
    fields = {"protocol": "openai", "default_model": "m", "needs_key": False}
    rows = [
        Provider.objects.create(name=f"p{n}", label=f"P{n}", **fields) for n in range(6)
    ]
    data = {"action": "test_providers", "_selected_action": [row.pk for row in rows]}
    response = boss.post(LIST, data, follow=True)

    assert messages_of(response) == ["Select at most five."]
    assert not Provider.objects.exclude(tested_at=None).exists()


async def test_the_key_s_own_form_is_not_left_either(
    boss: Client, provider: Provider
) -> None:
    data = {
        "provider": provider.pk,
        "name": "main",
        "value": CANARY,
        "enabled": "on",
        "llmchat_providerkey_save_and_test": "",
    }

    def press(base_url: str) -> HttpResponse:
        Provider.objects.filter(pk=provider.pk).update(
            base_url=base_url, default_model="scenario-short"
        )
        return boss.post(KEY_FORM, data, follow=True)

    async with emulator() as upstream:
        response = await in_database(press, upstream.url)

    key = await in_database(ProviderKey.objects.get)
    to = f"/admin/llmchat/providerkey/{key.pk}/change/"
    assert response.redirect_chain == [(to, 302)]  # type: ignore[attr-defined]
    assert any("main sk-…wxyz: Works: " in text for text in messages_of(response))
    await in_database(provider.refresh_from_db)
    assert provider.tested_at is not None


async def test_a_key_that_is_not_in_use_says_nothing_of_the_provider(
    boss: Client, provider: Provider
) -> None:
    def press(base_url: str) -> ProviderKey:
        Provider.objects.filter(pk=provider.pk).update(
            base_url=base_url, default_model="scenario-short"
        )
        key = stored(provider, REFUSED, enabled=False)
        data = {"action": "test_keys", "_selected_action": [key.pk]}
        boss.post("/admin/llmchat/providerkey/", data)
        return ProviderKey.objects.get()

    async with emulator() as upstream:
        key = await in_database(press, upstream.url)

    assert key.last_error == "provider_auth"
    await in_database(provider.refresh_from_db)
    assert (provider.test_problem, provider.tested_at) == ("", None)


def test_the_built_in_model_is_looked_for(boss: Client, provider: Provider) -> None:
    changes = {"embedded": "on", "needs_key": None, "default_model": LOCAL_MODELS[0]}
    response = submit(boss, change_url(provider), **SAVE_AND_TEST, **changes)

    assert said(response, provider).startswith("The built-in model is installed.")


@pytest.mark.parametrize("shown", ["list", "page"])
def test_a_look_tests_nothing(boss: Client, provider: Provider, shown: str) -> None:
    query = {"action": "test_providers", "_selected_action": provider.pk}
    boss.get(LIST if shown == "list" else change_url(provider), query | SAVE_AND_TEST)

    provider.refresh_from_db()
    assert provider.tested_at is None


def test_who_may_only_look_tests_nothing(provider: Provider, client: Client) -> None:
    operator = User.objects.create_user("operator", is_staff=True)
    operator.user_permissions.set(Permission.objects.filter(codename="view_provider"))
    client.force_login(operator)
    data = {"action": "test_providers", "_selected_action": [provider.pk]}

    client.post(LIST, data)
    assert client.post(change_url(provider), SAVE_AND_TEST).status_code == 403
    provider.refresh_from_db()
    assert provider.tested_at is None


def test_a_test_is_no_change_that_others_have_to_read(provider: Provider) -> None:
    ensure_revision()
    before = current_revision()
    Provider.objects.update(tested_at=timezone.now(), test_problem="dns")
    assert current_revision() == before
    Provider.objects.update(label="Renamed")
    assert current_revision() != before
