"""Which provider answers, with which key, and what is stored of that."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.db.models import Model
from django.utils import timezone
from rest_framework.test import APIClient

from llmchat.access import catalogue, keys
from llmchat.access.permissions import Access
from llmchat.api.openai.models import model_names
from llmchat.database import in_database
from llmchat.errors import ChatError
from llmchat.models import Budget, Provider, ProviderAccess
from tests.support.access import forbid_the_default_model, turn_for
from tests.support.chat_fixtures import end_of, events_of


async def _listed(user: Model, name: str) -> dict[str, Any]:
    return next(row for row in await _rows(user) if row["name"] == name)


async def _rows(user: Model) -> list[dict[str, Any]]:
    def get() -> list[dict[str, Any]]:
        client = APIClient()
        client.force_authenticate(user)
        rows: list[dict[str, Any]] = client.get("/llm/providers").json()["providers"]
        return rows

    return await in_database(get)


async def test_the_list_tells_name_label_models_and_that_a_provider_is_usable(
    user, make_row, settings
):
    await make_row("openai", label="OpenAI")
    settings.LLMCHAT = settings.LLMCHAT | {"openai_api_key": "sk-good"}
    assert await _listed(user, "openai") == {
        "name": "openai",
        "label": "OpenAI",
        "model": "scenario-short",
        "models": [
            {
                "name": "scenario-short",
                "label": "scenario-short",
                "contextTokens": None,
                "maxOutputTokens": None,
                "abilities": None,
                "priced": True,
            }
        ],
        "allowedModels": ["*"],
        "configured": True,
        "usable": True,
    }


async def test_the_list_tells_which_key_is_missing(user, make_row):
    await make_row("claude", label="Claude")
    listed = await _listed(user, "claude")
    assert (listed["configured"], listed["usable"]) == (False, False)
    assert listed["code"] == "key_not_configured"
    assert listed["error"] == "Claude API key not configured"


async def test_the_list_begins_with_what_is_usable(user, make_row, settings):
    for name in ("claude", "gemini", "openai"):
        await make_row(name)
    settings.LLMCHAT = settings.LLMCHAT | {
        "openai_api_key": "sk-good",
        "gemini_api_key": "sk-good",
    }

    rows = [row["name"] for row in await _rows(user) if row["name"] != "local"]

    assert rows[:2] == ["gemini", "openai"]
    assert "claude" in rows[2:]


async def test_the_list_leads_those_who_may_to_where_a_provider_is_configured(
    user, make_row
):
    row = await make_row("claude")
    assert "adminUrl" not in await _listed(user, "claude")

    user.is_staff = True
    await in_database(user.save)
    assert "adminUrl" not in await _listed(user, "claude")

    def allow() -> None:
        named = Permission.objects.get(codename="add_providerkey")
        user.user_permissions.add(named)

    await in_database(allow)
    listed = await _listed(user, "claude")
    assert listed["adminUrl"] == f"/admin/llmchat/providerkey/add/?provider={row.pk}"


async def test_the_list_is_read_by_a_user_who_is_deleted_meanwhile(user, make_row):
    """That the token is valid is remembered for a moment."""
    await make_row("claude")
    await in_database(type(user).objects.all().delete)

    assert (await _listed(user, "claude"))["usable"] is False


async def test_the_list_tells_that_the_keys_were_refused_until_they_have_rested(
    user, make_row, turn, settings, fresh_memory
):
    await make_row("gemini")
    settings.LLMCHAT = settings.LLMCHAT | {"gemini_api_key": "sk-broke"}
    await end_of(user, turn_for(turn, "gemini", "short"))
    listed = await _listed(user, "gemini")
    assert (listed["configured"], listed["usable"]) == (True, False)
    assert (listed["code"], listed["error"]) == (
        "provider_quota",
        "The provider account has no quota or balance left",
    )

    for key, (_, code) in keys._resting.items():
        keys._resting[key] = (timezone.now() - timedelta(seconds=1), code)
    assert (await _listed(user, "gemini"))["usable"] is True


async def test_a_provider_with_a_fallback_is_usable(user, provider, fallback):
    provider.needs_key = True
    await in_database(provider.save)
    listed = await _listed(user, "test")
    assert (listed["configured"], listed["usable"]) == (False, True)
    assert "error" not in listed


@pytest.mark.parametrize("whose", ["user", "group", "default", "other", None])
async def test_a_fallback_without_a_price_is_none_where_a_budget_applies(
    user, provider, fallback, whose
):
    def limit() -> None:
        provider.needs_key, fallback.output_price = True, None
        provider.save()
        fallback.save()
        group = Group.objects.create(name="some")
        owner: dict[str, dict[str, Any]] = {
            "user": {"user": user},
            "group": {"group": group},
            "default": {"is_default": True},
            "other": {"user": type(user).objects.create_user("other")},
        }
        if whose == "group":
            user.groups.add(group)
        if whose is not None:
            Budget.objects.create(limit=9, unit="tokens", period="day", **owner[whose])

    await in_database(limit)
    listed = await _listed(user, "test")
    names = await in_database(model_names, user.pk)
    if whose in ("other", None):
        assert listed["usable"]
        assert "test/model-1" in names
    else:
        assert (listed["usable"], listed["code"]) == (False, "key_not_configured")
        assert "test/model-1" not in names


@pytest.mark.parametrize("model", [False, True])
async def test_a_fallback_that_the_user_may_not_use_makes_nothing_usable(
    user, provider, fallback, model
):
    def forbid() -> None:
        provider.needs_key = True
        provider.save()
        if model:
            forbid_the_default_model(user, fallback)
        else:
            fallback.restricted = True
            fallback.save()

    await in_database(forbid)
    listed = await _listed(user, "test")
    assert (listed["usable"], listed["code"]) == (False, "key_not_configured")


async def test_a_provider_without_an_address_is_not_usable(user, provider, turn):
    provider.base_url = ""
    await in_database(provider.save)
    listed = await _listed(user, "test")
    assert (listed["configured"], listed["usable"]) == (False, False)
    assert listed["code"] == "address_not_configured"
    assert listed["error"] == "The address of Test is not configured"

    with pytest.raises(ChatError) as refused:
        await events_of(user, turn("Hi"))
    assert (refused.value.code, refused.value.status) == ("address_not_configured", 503)


async def test_a_blank_address_in_the_environment_is_none(user, make_row, settings):
    await make_row("claude", base_url="", needs_key=False)
    assert (await _listed(user, "claude"))["usable"] is True
    settings.LLMCHAT = settings.LLMCHAT | {"anthropic_base_url": ""}
    assert (await _listed(user, "claude"))["code"] == "address_not_configured"


async def test_the_models_that_are_allowed_by_name_are_listed(user, provider):
    def allow() -> None:
        provider.restricted = True
        provider.save()
        group = Group.objects.create(name="some")
        user.groups.add(group)
        ProviderAccess.objects.create(
            provider=provider, group=group, allowed_models="other-2\nmodel-*\nmodel-1"
        )

    await in_database(allow)
    models = (await _listed(user, "test"))["models"]
    assert [model["name"] for model in models] == ["model-1", "other-2"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("embedded", "models"), [(True, ("SmolLM2-135M-Instruct",)), (False, ())]
)
def test_the_embedded_server_has_one_model(
    embedded: bool, models: tuple[str, ...]
) -> None:
    Provider.objects.create(
        name="own",
        label="Own",
        protocol="openai",
        embedded=embedded,
        base_url="http://127.0.0.1:1",
        default_model="m",
        needs_key=False,
    )
    access = Access({"own": ("*",)})
    assert catalogue.route("own", access).provider.models == models
