"""Which providers and models a user may use: open to everyone, or for groups only."""

from __future__ import annotations

import asyncio
from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from rest_framework.test import APIClient

from llmchat import models
from llmchat.access.permissions import access_of
from llmchat.answers.events import Done
from llmchat.database import in_database
from llmchat.errors import ChatError
from tests.support.chat_fixtures import end_of, events_of
from tests.support.streaming import streaming


@pytest.fixture
def allow(user, provider):
    """Restrict the provider to a group, which the user is in by default."""

    async def make(allowed_models="", *, member=True, name="team"):
        def store() -> None:
            group, _ = Group.objects.get_or_create(name=name)
            if member:
                group.user_set.add(user)
            models.Provider.objects.filter(pk=provider.pk).update(restricted=True)
            models.ProviderAccess.objects.create(
                provider=provider, group=group, allowed_models=allowed_models
            )

        await in_database(store)

    return make


async def refused(user, turn) -> str:
    with pytest.raises(ChatError) as refusal:
        await events_of(user, turn)
    assert (refusal.value.code, refusal.value.status) == ("permission_denied", 403)
    assert await in_database(models.Conversation.objects.count) == 0
    return refusal.value.text


async def test_a_provider_that_is_not_restricted_is_open_to_everyone(
    user, provider, upstream, turn
):
    assert isinstance(await end_of(user, turn("Hi")), Done)


async def test_a_member_of_the_group_may_use_the_provider(
    user, provider, upstream, turn, allow
):
    await allow()
    assert isinstance(await end_of(user, turn("Hi", model="any")), Done)


async def test_nobody_else_may_use_the_provider(user, provider, upstream, turn, allow):
    await allow(member=False)
    assert await refused(user, turn("Hi")) == "You may not use this provider"
    assert not upstream.requests


async def test_a_superuser_may_use_every_provider(
    user, provider, upstream, turn, allow
):
    await allow("other-*", member=False)
    user.is_superuser = True
    await in_database(user.save)
    assert isinstance(await end_of(user, turn("Hi")), Done)


@pytest.mark.parametrize("allowed", ["model-1", "other\n  model-*  \n\n", "*"])
async def test_a_group_may_use_the_models_that_its_patterns_name(
    user, provider, upstream, turn, allow, allowed
):
    await allow(allowed)
    assert isinstance(await end_of(user, turn("Hi")), Done)


@pytest.mark.parametrize("model", ["model-10", "MODEL-1", "xmodel-1"])
async def test_a_group_may_use_no_other_model(
    user, provider, upstream, turn, allow, model
):
    await allow("model-1")
    assert await refused(user, turn("Hi", model=model)) == "You may not use this model"


async def test_the_default_model_needs_permission_too(
    user, provider, upstream, turn, allow
):
    await allow("model-2")
    assert await refused(user, turn("Hi")) == "You may not use this model"
    assert isinstance(await end_of(user, turn("Hi", model="model-2")), Done)


async def test_what_one_group_may_not_another_may(
    user, provider, upstream, turn, allow
):
    await allow("model-2", name="first")
    await allow("model-1", name="second")
    assert isinstance(await end_of(user, turn("Hi")), Done)


async def test_a_provider_whose_groups_are_gone_is_for_superusers(
    user, provider, upstream, turn, allow
):
    await allow(name="first")
    await allow(name="second")
    for name in ("first", "second"):
        await in_database(lambda name=name: Group.objects.get(name=name).delete())
    assert await refused(user, turn("Hi")) == "You may not use this provider"

    user.is_superuser = True
    await in_database(user.save)
    assert isinstance(await end_of(user, turn("Hi")), Done)


async def test_groups_of_an_open_provider_restrict_nobody(
    user, provider, upstream, turn, allow
):
    await allow("other-*", member=False)
    provider.restricted = False
    await in_database(provider.save)
    assert isinstance(await end_of(user, turn("Hi", model="any")), Done)


async def test_who_leaves_the_group_ends_the_running_answer_and_begins_no_other(
    user, provider, upstream, turn, allow
):
    await allow()
    upstream.steps = ("Hel", asyncio.Event(), "lo")
    async with streaming(user, turn("Hi")) as (_, events, _stream):
        await in_database(user.groups.clear)
        upstream.steps[1].set()
    assert isinstance(events[-1], Done)
    assert events[-1].text == "Hello"

    with pytest.raises(ChatError) as refusal:
        await events_of(user, turn("Hi", session_id="s-2"))
    assert refusal.value.code == "permission_denied"


async def test_an_inactive_superuser_may_use_no_restricted_provider(
    user, provider, allow
):
    await allow(member=False)
    user.is_superuser, user.is_active = True, False
    await in_database(user.save)
    access = await in_database(access_of, user.pk)
    assert not access.allows(provider, "model-1")


async def test_a_provider_that_nobody_has_heard_of_is_not_allowed(user, provider):
    access = await in_database(access_of, user.pk)
    assert access.allows(provider, "model-1")
    provider.name = "unheard-of"
    assert not access.allows(provider, "model-1")


@pytest.mark.parametrize("missing", ["key", "address", "both"])
@pytest.mark.parametrize(
    ("allowed", "member", "text"),
    [
        ("", False, "You may not use this provider"),
        ("other", True, "You may not use this model"),
    ],
)
async def test_who_may_not_use_a_provider_is_not_told_what_it_lacks(
    user, provider, turn, allow, missing, allowed, member, text
):
    provider.needs_key = missing in ("key", "both")
    provider.base_url = provider.base_url if missing == "key" else ""
    await in_database(provider.save)
    await allow(allowed, member=member)
    assert await refused(user, turn("Hi")) == text


@pytest.mark.django_db
def test_the_migration_restricts_the_providers_that_have_groups():
    migration = import_module("llmchat.migrations.0022_restricted_providers")
    fields = {"protocol": "openai", "default_model": "m", "base_url": "http://x/v1"}
    for name in ("taken", "open"):
        models.Provider.objects.create(name=name, label=name, **fields)
    taken = models.Provider.objects.get(name="taken")
    for name in ("one", "two"):
        group = Group.objects.create(name=name)
        models.ProviderAccess.objects.create(provider=taken, group=group)

    migration.restrict(apps, None)

    restricted = models.Provider.objects.filter(restricted=True)
    assert list(restricted.values_list("name", flat=True)) == ["taken"]


@pytest.fixture
def listed(user):
    """Ask `GET /llm/providers` what the user may use of provider `test`."""

    async def ask():
        def get() -> list[dict]:
            client = APIClient()
            client.force_authenticate(user)
            return client.get("/llm/providers").json()["providers"]

        rows = {row["name"]: row for row in await in_database(get)}
        return rows.get("test", {}).get("allowedModels")

    return ask


async def test_the_list_of_providers_says_what_a_user_may_use(
    user, provider, allow, listed
):
    assert await listed() == ["*"]
    await allow(member=False, name="others")
    assert await listed() is None
    await allow("model-1\nmodel-2")
    assert await listed() == ["model-1", "model-2"]
