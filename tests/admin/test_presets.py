"""New providers from a preset: links, without JavaScript."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from accounts.models import User
from llmchat.admin.presets import PRESETS
from llmchat.models import Provider
from tests.support.provider_forms import ADD, LIST, entered, errors_of, submit


def test_the_form_offers_every_preset_as_a_link(admin_client: Client) -> None:
    page = admin_client.get(ADD).content.decode()

    for preset in PRESETS.values():
        assert f'<a href="?preset={preset.slug}">{preset.label}</a>' in page


@pytest.mark.parametrize("slug", PRESETS)
def test_a_preset_makes_a_provider_that_is_saved(
    admin_client: Client, slug: str
) -> None:
    preset = PRESETS[slug]
    url = f"{ADD}?preset={slug}"
    left = {}
    if not preset.base_url:
        left = {"base_url": "https://resource.example.com/openai/v1"}
    if not preset.default_model:
        left["default_model"] = "model-1"
    if slug == "other":
        left |= {"name": "other", "label": "Other"}
    response = submit(admin_client, url, **left)

    assert response.redirect_chain  # type: ignore[attr-defined]
    row = Provider.objects.get(name=slug)
    assert row.protocol == "openai"
    assert row.address == (preset.base_url or left["base_url"])
    assert row.needs_key == preset.needs_key
    assert row.max_tokens_field == preset.max_tokens_field
    assert not row.keys.exists()


def test_ollama_needs_nothing_but_to_be_saved(admin_client: Client) -> None:
    submit(admin_client, f"{ADD}?preset=ollama")

    row = Provider.objects.get(name="ollama")
    assert (row.base_url, row.needs_key) == ("http://localhost:11434/v1", False)
    assert row.enabled
    assert re.search(r"ready|not needed", admin_client.get(LIST).content.decode())


def test_a_second_one_gets_a_name_of_its_own(admin_client: Client) -> None:
    for _ in range(3):
        submit(admin_client, f"{ADD}?preset=ollama")

    names = Provider.objects.filter(label="Ollama").values_list("name", flat=True)
    assert list(names) == ["ollama", "ollama-2", "ollama-3"]


def test_what_a_preset_leaves_open_is_asked_for_beside_the_field(
    admin_client: Client,
) -> None:
    response = submit(admin_client, f"{ADD}?preset=azure")

    errors = errors_of(response)
    assert errors == {
        "base_url": ["Enter a base URL, or disable the provider."],
        "default_model": ["Enter the name of a model."],
    }


def test_an_unknown_preset_fills_nothing(admin_client: Client) -> None:
    assert "base_url" not in {
        name
        for name, value in entered(admin_client, f"{ADD}?preset=x").items()
        if value
    }


@pytest.mark.django_db
def test_presets_are_for_those_who_may_add_providers(client: Client) -> None:
    client.force_login(User.objects.create_user("operator", is_staff=True))

    assert client.get(f"{ADD}?preset=ollama").status_code == 403
