"""Which provider answers, with which key, and what of it is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db.models import Model
from django.utils import timezone
from rest_framework.test import APIClient

from llmchat import models
from llmchat.access import catalogue, keys
from llmchat.access.permissions import Access
from llmchat.answers import runtime
from llmchat.answers.events import Cancelled, Done, Failed
from llmchat.books.turn import Turn
from llmchat.database import in_database
from llmchat.errors import ChatError
from llmchat.models import Message, Provider, ProviderAccess, ProviderKey
from llmchat.providers.types import Usage
from tests.emulator.application import emulator
from tests.emulator.driver import APIS
from tests.emulator.server import Emulator
from tests.support.chat_fixtures import end_of, events_of
from tests.support.streaming import streaming
from tests.support.upstream import Upstream, running_upstream

MakeRow = Callable[..., Awaitable[Provider]]


@pytest.fixture
async def spare() -> AsyncIterator[Upstream]:
    """The server of the fallback."""
    async with running_upstream() as server:
        server.steps = ("From ", "the spare")
        yield server


@pytest.fixture
async def fallback(provider: Provider, spare: Upstream) -> Provider:
    """The fallback of provider `test`, which costs ten times as much."""

    def make() -> Provider:
        row = Provider.objects.create(
            name="spare",
            label="Spare",
            protocol="openai",
            base_url=spare.base_url,
            default_model="spare-1",
            needs_key=False,
            input_price=10,
            output_price=20,
        )
        provider.fallback = row
        provider.save()
        return row

    return await in_database(make)


async def answer() -> Message:
    """Return the only stored answer."""
    return await in_database(lambda: Message.objects.get(role="assistant"))


async def test_the_fallback_answers_where_the_provider_fails_without_a_word(
    user, provider, fallback, upstream, spare, turn
):
    upstream.status = 401
    start, *_, done = await events_of(user, turn("Hi"))

    assert isinstance(done, Done)
    assert (start.provider, start.model) == ("test", "model-1")
    assert (done.text, done.provider) == ("From the spare", "spare")
    assert spare.requests[0]["model"] == "spare-1"


async def test_an_answer_of_the_fallback_is_stored_with_its_price(
    user, provider, fallback, upstream, spare, turn
):
    upstream.status = 401
    await end_of(user, turn("Hi"))

    stored = await answer()
    assert (stored.state, stored.provider) == ("complete", "spare")
    assert stored.cost == Decimal("0.00013")
    assert stored.attempts == 2


async def test_the_fallback_is_not_asked_once_a_word_was_said(
    user, provider, fallback, upstream, spare, turn
):
    upstream.cut = True
    failed = await end_of(user, turn("Hi"))

    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.partial) == ("provider_error", "Hello")
    assert not spare.requests


async def test_the_error_of_the_last_that_was_asked_is_told(
    user, provider, fallback, upstream, spare, turn
):
    upstream.status, spare.status = 401, 404
    failed = await end_of(user, turn("Hi"))

    assert isinstance(failed, Failed)
    assert failed.error.code != "provider_auth"
    assert (await answer()).provider == "spare"


@pytest.mark.parametrize("status", [400, 413])
async def test_a_request_that_is_wrong_is_not_sent_to_the_fallback(
    user, provider, fallback, upstream, spare, turn, status
):
    upstream.status = status
    assert isinstance(await end_of(user, turn("Hi")), Failed)
    assert not spare.requests


async def test_the_fallback_is_asked_where_the_provider_has_no_key(
    user, provider, fallback, upstream, turn
):
    provider.needs_key = True
    await in_database(provider.save)

    assert (await end_of(user, turn("Hi"))).text == "From the spare"
    assert not upstream.requests


def forbid_the_default_model(user: Any, provider: Provider) -> None:
    provider.restricted = True
    provider.save()
    group = Group.objects.create(name="some")
    user.groups.add(group)
    ProviderAccess.objects.create(
        provider=provider, group=group, allowed_models="spare-2"
    )


@pytest.mark.parametrize(
    "reason",
    ["disabled", "forbidden", "other model", "keyless", "no address", "itself"],
)
async def test_a_fallback_that_is_of_no_use_is_not_asked(
    user, provider, fallback, upstream, spare, turn, reason
):
    def spoil() -> None:
        fallback.enabled = reason != "disabled"
        fallback.needs_key = reason == "keyless"
        fallback.save()
        if reason == "forbidden":
            fallback.restricted = True
            fallback.save()
        if reason == "other model":
            forbid_the_default_model(user, fallback)
        if reason == "no address":
            fallback.base_url = ""
            fallback.save()
        if reason == "itself":
            provider.fallback = provider
            provider.save()

    await in_database(spoil)
    upstream.status = 401
    failed = await end_of(user, turn("Hi"))
    assert failed.error.code == "provider_auth"
    assert (len(upstream.requests), len(spare.requests)) == (1, 0)


async def test_a_stream_of_the_fallback_can_be_cancelled(
    user, provider, fallback, upstream, spare, turn
):
    upstream.status = 401
    spare.steps = ("From ", asyncio.Event())
    async with streaming(user, turn("Hi")) as (_, events, stream):
        assert stream.cancel()
    async with asyncio.timeout(5):
        await spare.hung_up.wait()
    assert isinstance(events[-1], Cancelled)
    assert events[-1].partial == "From "


@pytest.fixture
async def emulated(transactional_db: None) -> AsyncIterator[Emulator]:
    """The emulator; what the process holds is let go of behind the test."""
    async with emulator() as server:
        yield server
        await runtime.shutdown()


@pytest.fixture
def make_row(emulated: Emulator) -> MakeRow:
    """Make the row of a provider whose API the emulator speaks."""

    async def make(api: str, **fields: Any) -> Provider:
        values: dict[str, Any] = {
            "label": api.title(),
            "protocol": api,
            "base_url": emulated.url,
            "default_model": "scenario-short",
            "input_price": 2,
            "output_price": 10,
            **fields,
        }

        def save() -> Provider:
            return Provider.objects.update_or_create(name=api, defaults=values)[0]

        return await in_database(save)

    return make


def turn_for(turn: Callable[..., Turn], api: str, scenario: str) -> Turn:
    """Return a turn that plays a scenario."""
    asked = turn("Hi", model=f"scenario-{scenario}")
    return replace(asked, provider=api)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("scenario", "output", "reasoning"),
    [("short", 4, 0), ("usage-every", 4, 0), ("reasoning", 6, 2)],
)
async def test_what_the_provider_counted_is_stored_once_with_its_cost(
    user, make_row, turn, settings, api, scenario, output, reasoning
):
    await make_row(api, needs_key=False)
    settings.LLMCHAT = settings.LLMCHAT | {f"{_env(api)}_api_key": "sk-good"}
    done = await end_of(user, turn_for(turn, api, scenario))

    stored = await answer()
    counted = 11 if api == "gemini" else 21
    assert isinstance(done, Done)
    assert done.usage.source == stored.usage_source == "provider"
    assert (stored.input_tokens, stored.output_tokens) == (counted, output)
    assert stored.reasoning_tokens == reasoning
    assert stored.cost == Decimal(counted * 2 + output * 10) / 1_000_000
    conversation = await in_database(models.Conversation.objects.get)
    assert (conversation.output_tokens, conversation.cost) == (output, stored.cost)


def _env(api: str) -> str:
    return "anthropic" if api == "claude" else api


@pytest.fixture
def fresh_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget which keys of the environment rest."""
    monkeypatch.setattr(keys, "_resting", {})


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("bad", "code"), [("sk-bad-1", "provider_auth"), ("sk-broke", "provider_quota")]
)
async def test_a_refused_key_of_the_environment_rests_and_the_next_one_is_used(
    user, make_row, emulated, turn, settings, fresh_memory, api, bad, code
):
    await make_row(api)
    name = f"{_env(api)}_api_key"
    settings.LLMCHAT = settings.LLMCHAT | {name: f"{bad}, sk-good"}
    first = await end_of(user, turn_for(turn, api, "short"))
    asked = len(emulated.requests)
    second = await end_of(user, turn_for(turn, api, "unicode"))

    assert isinstance(first, Done)
    assert isinstance(second, Done)
    assert (asked, len(emulated.requests)) == (2, 3)
    assert [refused for _, refused in keys._resting.values()] == [code]


async def test_a_refused_stored_key_rests_and_tells_the_operator_why(
    user, make_row, emulated, turn
):
    row = await make_row("openai")

    def store() -> None:
        for value in ("sk-broke-0123456789", "sk-good-0123456789"):
            key = ProviderKey(provider=row)
            key.set_value(value)
            key.save()

    await in_database(store)
    for _ in range(2):
        done = await end_of(user, turn_for(turn, "openai", "short"))
        assert isinstance(done, Done)

    broke, good = await in_database(lambda: list(ProviderKey.objects.all()))
    assert len(emulated.requests) == 3
    assert broke.last_error == "provider_quota"
    assert timezone.now() < broke.resting_until < timezone.now() + keys.REST
    assert (good.last_error, good.resting_until) == ("", None)
    assert good.last_used_at is not None


async def test_a_provider_that_is_down_is_no_word_for_its_key(user, make_row, turn):
    row = await make_row("openai")

    def store() -> ProviderKey:
        key = ProviderKey(provider=row, last_error="provider_auth")
        key.set_value("sk-good-0123456789")
        key.save()
        return key

    key = await in_database(store)
    await end_of(user, turn_for(turn, "openai", "fail-bad-request"))
    await in_database(key.refresh_from_db)
    assert key.last_error == "provider_auth"


async def test_a_providers_401_is_never_the_users(
    user, make_row, turn, settings, fresh_memory
):
    await make_row("openai")
    settings.LLMCHAT = settings.LLMCHAT | {"openai_api_key": "sk-bad"}
    failed = await end_of(user, turn_for(turn, "openai", "short"))
    assert (failed.error.code, failed.error.status) == ("provider_auth", 502)


async def _listed(user: Model, name: str) -> dict[str, Any]:
    def get() -> dict[str, Any]:
        client = APIClient()
        client.force_authenticate(user)
        rows = client.get("/llm/providers").json()["providers"]
        return next(row for row in rows if row["name"] == name)

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
        "models": ["scenario-short"],
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
    assert (await _listed(user, "test"))["models"] == ["model-1", "other-2"]


@pytest.mark.django_db
def test_a_route_costs_at_most_what_it_and_its_fallback_do() -> None:
    def priced(price: int | None, other: Any = None) -> catalogue.Route:
        price = None if price is None else Decimal(price)
        return catalogue.Route(None, (), "m", False, price, price, other)  # type: ignore[arg-type]

    usage = Usage(500_000, 500_000, "provider")
    assert priced(1, priced(3)).highest_cost(usage) == 4
    assert priced(4, priced(3)).highest_cost(usage) == 7
    assert priced(4, priced(None)).highest_cost(usage) == 4
    assert priced(None, priced(3)).highest_cost(usage) is None


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
        default_model="m",
        needs_key=False,
        base_url="http://127.0.0.1:1/v1",
    )
    assert catalogue.route("own", Access({"own": ("*",)})).provider.models == models
