"""Providers that cannot work are refused when they are saved."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from llmchat.models import Provider
from llmchat.providers.registry import LOCAL_MODELS
from tests.support.provider_forms import (
    ADD,
    change_url,
    errors_of,
    messages_of,
    submit,
)

ADDRESS = "https://gpu-1.example.com/v1"


@pytest.fixture
def acme(db: None) -> Provider:
    return _provider("acme")


def _provider(name: str, **fields: Any) -> Provider:
    return Provider.objects.create(
        name=name,
        label=name.title(),
        protocol="openai",
        base_url=ADDRESS,
        default_model="model-1",
        needs_key=False,
        **fields,
    )


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"base_url": ""}, "base_url", "Enter a base URL, or disable the provider."),
        ({"base_url": "gpu-1:8000"}, "base_url", "Begin the address with http"),
        ({"base_url": "ftp://gpu-1/v1"}, "base_url", "Begin the address with http"),
        ({"base_url": "http://"}, "base_url", "not a valid address"),
        ({"base_url": "http://gpu-1:99999/v1"}, "base_url", "not a valid address"),
        ({"base_url": "http://gpu-1:port/v1"}, "base_url", "not a valid address"),
        ({"base_url": "http://[::1/v1"}, "base_url", "not a valid address"),
        ({"base_url": "http://gpu..1/v1"}, "base_url", "not a valid address"),
        ({"base_url": "http://me:secret@gpu-1/v1"}, "base_url", "Leave the user name"),
        (
            {"base_url": "https://gpu-1/v1?key=x"},
            "base_url",
            "Leave out the “?” or “#”",
        ),
        ({"base_url": "https://gpu-1/v1#x"}, "base_url", "Leave out the “?” or “#”"),
        (
            {"base_url": "https://gpu-1/a b"},
            "base_url",
            "An address cannot contain spaces.",
        ),
        (
            {"base_url": "https://gpu-1/v1/chat/completions", "protocol": "claude"},
            "base_url",
            "belongs to another protocol",
        ),
        (
            {"base_url": "https://gpu-1/v1/messages"},
            "base_url",
            "belongs to another protocol",
        ),
        ({"default_model": "  "}, "default_model", "Enter the name of a model."),
        ({"name": "a b"}, "name", "Use only letters, digits, hyphens and"),
        ({"name": "taken"}, "name", "Another provider has this name."),
        ({"label": ""}, "label", "Enter the name that people see."),
        ({"embedded": "on"}, "base_url", "The built-in model has no base URL."),
        (
            {"embedded": "on", "base_url": "", "needs_key": "on"},
            "needs_key",
            "The built-in model does not use a key.",
        ),
        (
            {"embedded": "on", "base_url": "", "protocol": "claude"},
            "protocol",
            "The built-in model uses the OpenAI protocol.",
        ),
        (
            {"embedded": "on", "base_url": "", "default_model": "gpt"},
            "default_model",
            f"The built-in model is called {LOCAL_MODELS[0]}.",
        ),
        ({"thinking": "disabled"}, "thinking", "can be turned off only with"),
        (
            {"protocol": "claude", "system_role": "developer"},
            "system_role",
            "Only the OpenAI protocol supports “developer”.",
        ),
        (
            {"protocol": "deepseek", "max_tokens_field": "max_completion_tokens"},
            "max_tokens_field",
            "Only the OpenAI protocol supports “max_completion_tokens”.",
        ),
        ({"temperature_max": "-1"}, "temperature_max", "Enter zero or more."),
    ],
)
def test_the_field_that_is_wrong_is_told(
    admin_client: Client,
    acme: Provider,
    changes: dict[str, str],
    field: str,
    text: str,
) -> None:
    _provider("taken")
    response = submit(admin_client, change_url(acme), **changes)

    errors = errors_of(response)
    assert [message for message in errors[field] if text in message] == errors[field]
    before = Provider.objects.get(pk=acme.pk)
    assert (before.base_url, before.default_model) == (ADDRESS, "model-1")
    assert "secret@" not in str(errors)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://localhost:11434",
        "http://localhost:11434/v1/",
        "http://ollama:11434/v1",
        "http://[::1]:8000/v1",
        "http://10.0.0.1:8000/v1",
        "https://bücher.example/v1",
        "https://gateway.example.com/team_a/openai/v1",
        "https://gateway.example.com/v1/chat/completions",
    ],
)
def test_addresses_that_work_are_taken(
    admin_client: Client, acme: Provider, base_url: str
) -> None:
    response = submit(admin_client, change_url(acme), base_url=base_url)

    assert response.redirect_chain, errors_of(response)  # type: ignore[attr-defined]
    acme.refresh_from_db()
    assert acme.base_url == base_url


def test_a_new_provider_is_checked_as_well(admin_client: Client) -> None:
    fields = {"name": "x", "label": "X", "protocol": "openai", "default_model": "m"}
    response = submit(admin_client, ADD, **fields, base_url="http://a:b@host/v1")

    assert "Leave the user name and password out" in errors_of(response)["base_url"][0]
    assert not Provider.objects.filter(name="x").exists()


def test_no_provider_is_its_own_fallback(admin_client: Client, acme: Provider) -> None:
    response = submit(admin_client, change_url(acme), fallback=acme.pk)

    assert errors_of(response) == {
        "fallback": ["A provider cannot be its own fallback."]
    }


def test_fallbacks_do_not_lead_back(admin_client: Client, acme: Provider) -> None:
    second = _provider("second", fallback=acme)
    third = _provider("third", fallback=second)
    response = submit(admin_client, change_url(acme), fallback=third.pk)

    way = "Acme → Third → Second → Acme"
    assert errors_of(response) == {
        "fallback": [f"The fallbacks lead back to this provider: {way}."]
    }


def test_an_older_circle_ends_and_stands_in_nobody_s_way(
    admin_client: Client, acme: Provider
) -> None:
    second = _provider("second", fallback=acme)
    Provider.objects.filter(pk=acme.pk).update(fallback=second)
    third = _provider("third")

    response = submit(admin_client, change_url(third), fallback=acme.pk)
    assert response.redirect_chain  # type: ignore[attr-defined]
    response = submit(admin_client, change_url(acme), needs_key="on")
    assert response.redirect_chain  # type: ignore[attr-defined]


def test_a_fallback_that_is_disabled_is_warned_of(
    admin_client: Client, acme: Provider
) -> None:
    other = _provider("other", enabled=False)
    response = submit(admin_client, change_url(acme), fallback=other.pk)

    assert any("The fallback Other is disabled" in m for m in messages_of(response))
    acme.refresh_from_db()
    assert acme.fallback_id == other.pk


def test_a_provider_without_its_key_is_warned_of(
    admin_client: Client, acme: Provider
) -> None:
    response = submit(admin_client, change_url(acme), needs_key="on")
    assert any("Acme has no key yet" in text for text in messages_of(response))

    key = {"keys-TOTAL_FORMS": 1, "keys-0-value": "sk-0123456789-0123"}
    response = submit(admin_client, change_url(acme), **key)
    assert not any("no key" in text for text in messages_of(response))


def test_a_change_of_the_address_forgets_the_last_test(
    admin_client: Client, acme: Provider
) -> None:
    Provider.objects.filter(pk=acme.pk).update(
        test_problem="dns", tested_at="2026-01-01T00:00Z"
    )
    submit(admin_client, change_url(acme), input_price="1")
    acme.refresh_from_db()
    assert acme.test_problem == "dns"

    submit(admin_client, change_url(acme), base_url="https://other.example.com/v1")
    acme.refresh_from_db()
    assert (acme.test_problem, acme.tested_at) == ("", None)
