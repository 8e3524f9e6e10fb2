"""Which model a name means, and which models are listed."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from accounts import api_keys
from llmchat.api.openai.models import Target, model_named, model_names, target_of
from llmchat.errors import ChatError
from llmchat.models import Budget, Provider, ProviderAccess

pytestmark = pytest.mark.django_db


@pytest.fixture
def user_id(django_user_model: Any) -> int:
    Provider.objects.all().delete()
    user = django_user_model.objects.create_user("ann")
    user.groups.add(Group.objects.create(name="team"))
    return int(user.pk)


def provider(name: str, default_model: str, **fields: Any) -> Provider:
    common = {"label": name, "protocol": "openai", "needs_key": False}
    given = {"base_url": "http://127.0.0.1:9/v1", "default_model": default_model}
    return Provider.objects.create(name=name, **common | given | fields)


def allow(row: Provider, *patterns: str) -> None:
    Provider.objects.filter(pk=row.pk).update(restricted=True)
    ProviderAccess.objects.create(
        provider=row,
        group=Group.objects.get(name="team"),
        allowed_models="\n".join(patterns),
    )


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("first", Target("first", None)),
        ("first/any", Target("first", "any")),
        ("first/maker/any", Target("first", "maker/any")),
        ("one", Target("first", "one")),
        ("maker/two", Target("second", "maker/two")),
    ],
)
def test_a_name_means_a_provider_and_its_model(
    user_id: int, name: str, target: Target
) -> None:
    provider("first", "one")
    provider("second", "maker/two")

    assert target_of(user_id, name) == target


@pytest.mark.parametrize(
    "name",
    [
        *("any", "first/", "nobody/one", "/one", "off", "off/three", "three"),
        f"first/{'x' * 129}",  # too long for any row
    ],
)
def test_a_name_that_means_nothing_is_not_found(user_id: int, name: str) -> None:
    provider("first", "one")
    provider("off", "three", enabled=False)

    with pytest.raises(ChatError) as refusal:
        target_of(user_id, name)

    assert (refusal.value.code, refusal.value.status) == ("model_not_found", 404)


def test_the_provider_that_knows_a_model_best_is_meant(user_id: int) -> None:
    def meant() -> str:
        return target_of(user_id, "gpt-1").provider

    allow(provider("d", "other"), "gpt-*")
    assert meant() == "d"
    allow(provider("c", "other"), "gpt-1", "other")
    assert meant() == "c"
    provider("b", "gpt-1")
    assert meant() == "b"
    provider("a", "gpt-1")
    assert meant() == "a"
    # One that has no key cannot answer.
    Provider.objects.filter(name="a").update(needs_key=True)
    assert meant() == "b"


def test_what_can_answer_is_listed_under_full_names(user_id: int) -> None:
    provider("open", "one")
    allow(provider("limited", "two"), "two", "three", "four-*")
    provider("keyless", "five", needs_key=True)
    Provider.objects.filter(pk=provider("closed", "six").pk).update(restricted=True)

    assert model_names(user_id) == ["open/one", "limited/two", "limited/three"]
    assert model_named(user_id, "open") == "open/one"
    assert model_named(user_id, "three") == "limited/three"
    for name in ("open/unheard-of", "keyless/five", "closed", "limited/four-1"):
        with pytest.raises(ChatError, match="model_not_found"):
            model_named(user_id, name)


@pytest.fixture
def answerable(user_id: int) -> None:
    """Two providers that know a model; for one only an unpriced fallback can answer."""
    fallback = provider("c", "other")
    provider("a", "gpt-1", needs_key=True, fallback=fallback)
    provider("b", "gpt-1")


@pytest.fixture
def key(user_id: int) -> tuple[int, str]:
    row, bearer = api_keys.create(user_id=user_id, scopes="chat read", name="a program")
    return row.pk, bearer


@pytest.mark.usefixtures("answerable")
@pytest.mark.parametrize("whose", ["user", "key", None])
def test_a_bare_name_means_who_answers_within_the_budgets(
    user_id: int, key: tuple[int, str], whose: str | None
) -> None:
    limit = {"limit": 9, "unit": "tokens", "period": "day"}
    if whose is not None:
        owner = {"user_id": user_id} if whose == "user" else {"api_key_id": key[0]}
        Budget.objects.create(**limit, **owner)

    without, by_key = target_of(user_id, "gpt-1"), target_of(user_id, "gpt-1", key[0])

    assert without.provider == ("b" if whose == "user" else "a")
    assert by_key.provider == ("a" if whose is None else "b")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("answerable")
def test_what_an_api_key_is_listed_is_within_its_budget(
    user_id: int, key: tuple[int, str], client: Client
) -> None:
    headers = {"authorization": f"Bearer {key[1]}"}

    def listed() -> list[str]:
        response = client.get("/v1/models", headers=headers).json()
        return sorted(model["id"] for model in response["data"])

    def named(name: str) -> int:
        return client.get(f"/v1/models/{name}", headers=headers).status_code

    assert listed() == ["a/gpt-1", "b/gpt-1", "c/other"]
    assert named("a/gpt-1") == 200

    Budget.objects.create(limit=9, unit="tokens", period="day", api_key_id=key[0])

    assert listed() == ["b/gpt-1", "c/other"]
    assert named("a/gpt-1") == 404
    assert sorted(model_names(user_id)) == ["a/gpt-1", "b/gpt-1", "c/other"]
