"""Which providers and models a user may use, by the groups that the user is in."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from rest_framework.test import APIClient

from llmchat import models
from llmchat.answers.events import Done
from llmchat.database import in_database
from llmchat.errors import ChatError
from tests.support.chat_fixtures import end_of, events_of


@pytest.fixture
def allow(user, provider):
    """Let a group use the provider; the user is a member unless said otherwise."""

    async def make(allowed_models="", *, member=True, name="team"):
        def store() -> None:
            group, _ = Group.objects.get_or_create(name=name)
            if member:
                group.user_set.add(user)
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


async def test_a_provider_without_permissions_is_everybodys(
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


@pytest.fixture
def listed(user):
    """Ask `GET /llm/providers` for what the user may use of provider `test`."""

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
