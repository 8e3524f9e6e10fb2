"""The models of a provider: offered, refused, priced, and what is stored of that."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from llmchat.access import catalogue, memory
from llmchat.access.permissions import Access
from llmchat.answers.events import Done, Failed
from llmchat.books import billing
from llmchat.books.turn import Begun, Outcome
from llmchat.database import in_database
from llmchat.errors import ChatError
from llmchat.models import (
    Budget,
    Message,
    Price,
    Provider,
    ProviderAccess,
    ProviderModel,
)
from llmchat.providers import retry
from llmchat.providers.types import ChatMessage, Image, Options, Usage
from tests.support import live
from tests.support.access import add_fallback, answer, reservations, spent
from tests.support.chat_fixtures import end_of, events_of
from tests.support.streaming import streaming
from tests.support.upstream import running_upstream

shipped = import_module("llmchat.migrations.0032_models")

# With seven tokens in and three out, costs at these rates are easy to read.
RATES = {"input": 100_000, "output": 200_000, "valid_from": date(2026, 1, 1)}


def make_model(
    provider: Provider, name: str = "model-1", price: Any = RATES, **fields: Any
) -> ProviderModel:
    row = ProviderModel.objects.create(provider=provider, name=name, **fields)
    if price is not None:
        Price.objects.create(model=row, **(RATES | price))
    return row


@pytest.fixture
def model(provider: Provider) -> Callable[..., Any]:
    async def make(*args: Any, **fields: Any) -> ProviderModel:
        return await in_database(lambda: make_model(provider, *args, **fields))

    return make


# --- What is billed, and by which price -------------------------------------------


async def test_an_answer_keeps_the_price_that_it_was_billed_by(
    user, provider, upstream, turn, model
):
    row = await model()
    end = await end_of(user, turn("Hi"))

    stored = await answer()
    # 7 x 0.1 + 3 x 0.2 dollars
    assert isinstance(end, Done)
    assert end.cost == stored.cost == Decimal("1.3")
    assert stored.price_id == (await in_database(row.prices.get)).pk


async def test_an_answer_of_a_model_without_a_price_costs_what_its_provider_does(
    user, provider, upstream, turn, model
):
    await model("model-2")
    await end_of(user, turn("Hi"))
    stored = await answer()
    # 7 x 1 + 3 x 2 millionths
    assert (stored.cost, stored.price_id) == (Decimal("0.000013"), None)


async def test_an_answer_that_is_not_priced_costs_nothing_that_is_known(
    user, provider, upstream, turn, model
):
    await model(price=None)
    await in_database(lambda: Provider.objects.update(input_price=None))
    end = await end_of(user, turn("Hi"))
    stored = await answer()
    assert isinstance(end, Done)
    assert (end.cost, stored.cost, stored.price_id) == (None, None, None)


async def test_the_model_that_was_asked_is_billed(
    user, provider, upstream, turn, model
):
    """The name of the model that answered does not count; providers make it longer."""
    await model()
    other = await model("model-2", {"input": 0, "output": 300_000})
    await end_of(user, turn("Hi", model="model-2"))
    stored = await answer()
    assert stored.model == "upstream-1"
    assert stored.cost == Decimal("0.9")
    assert stored.price_id == (await in_database(other.prices.get)).pk


async def test_what_is_read_from_a_cache_is_billed_as_that(
    user, provider, upstream, turn, model
):
    await model(price={"cache_read": 10_000})
    upstream.usage = {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 5},
    }
    await end_of(user, turn("Hi"))
    # 2 x 0.1 + 5 x 0.01 + 3 x 0.2 dollars
    assert (await answer()).cost == Decimal("0.85")


async def test_a_change_by_another_process_holds_for_the_next_turn(
    user, provider, upstream, turn, model
):
    row = await model()
    await end_of(user, turn("Hi", session_id="s-1"))
    code = (
        "import django, datetime; django.setup()\n"
        "from llmchat.models import Price, ProviderModel\n"
        "row = ProviderModel.objects.get(name='model-1')\n"
        "Price.objects.create(model=row, valid_from=datetime.date(2026, 2, 1),"
        " input=0, output=400_000)\n"
    )
    await in_database(lambda: run_elsewhere(code))
    await end_of(user, turn("Hi", session_id="s-2"))

    def read() -> list[tuple[Any, Any]]:
        rows = Message.objects.filter(role="assistant").order_by("created_at")
        return list(rows.values_list("cost", "price__valid_from"))

    assert await in_database(read) == [
        (Decimal("1.3"), date(2026, 1, 1)),
        (Decimal("1.2"), date(2026, 2, 1)),
    ]
    assert await in_database(row.prices.count) == 2


def run_elsewhere(code: str) -> None:
    """Run a program in another process, on the same database."""
    name = connection.settings_dict["NAME"]
    url = f"sqlite:///{name}"
    if connection.vendor != "sqlite":
        parts = urlsplit(os.environ["LLMCHAT_TEST_DATABASE_URL"])
        url = urlunsplit(parts._replace(path=f"/{name}"))
    settings = {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings"}
    subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **settings},
        cwd=live.ROOT,
        check=True,
    )


async def test_a_price_that_changes_while_an_answer_is_written_is_for_the_next(
    user, provider, upstream, turn, model
):
    row = await model()
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi")):
        await in_database(lambda: row.prices.update(input=0, output=0))
        go.set()
    assert (await answer()).cost == Decimal("1.3")


async def test_an_answer_ends_though_its_price_is_deleted_meanwhile(
    user, provider, upstream, turn, model
):
    row = await model()
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi")):
        await in_database(row.delete)
        go.set()
    stored = await answer()
    assert (stored.state, stored.cost) == ("complete", Decimal("1.3"))


async def test_each_attempt_is_a_request_of_its_own(
    user, provider, upstream, turn, model, monkeypatch
):
    """Two attempts without a word are above the threshold together, but neither is."""
    await model(price={"above_tokens": 10, "input_factor": 2})
    upstream.steps = ()
    assert isinstance(await end_of(user, turn("Hi")), Failed)
    assert len(upstream.requests) == 2
    stored = await answer()
    # 2 x (7 x 0.1 + 3 x 0.2), not 14 x 0.2 + 6 x 0.2
    assert (stored.input_tokens, stored.cost) == (14, Decimal("2.6"))


async def test_the_fallback_is_billed_by_its_own_price(
    user, provider, upstream, turn, model
):
    await model()
    upstream.steps = ()
    async with running_upstream() as other:

        def prepare() -> None:
            add_fallback(provider, other.base_url)
            make_model(provider.fallback, "model-2", {"input": 0, "output": 500_000})

        await in_database(prepare)
        await end_of(user, turn("Hi"))
    stored = await answer()
    # 2 x (7 x 0.1 + 3 x 0.2) before, then 3 x 0.5
    assert stored.cost == Decimal("4.1")
    price = await in_database(lambda: Price.objects.get(model__name="model-2"))
    assert stored.price_id == price.pk


@pytest.mark.parametrize(("bills", "cost"), [(True, "1.3"), (False, "0")])
async def test_a_refusal_without_a_word_costs_what_its_provider_bills(
    user, provider, upstream, turn, model, bills, cost
):
    await model(price={"bills_refusals": bills})
    upstream.steps, upstream.reason = (), "content_filter"
    end = await end_of(user, turn("Hi"))
    assert isinstance(end, Failed)
    assert end.error.code == "content_filtered"
    assert (await answer()).cost == Decimal(cost)


async def test_a_refusal_behind_thoughts_that_nobody_counts_is_billed(
    user, provider, upstream, turn, model
):
    await model(price={"bills_refusals": False})
    thought = {"choices": [{"delta": {"reasoning_content": "Hm"}}]}
    upstream.steps, upstream.reason = (thought,), "content_filter"
    end = await end_of(user, turn("Hi"))
    assert isinstance(end, Failed)
    assert end.error.code == "content_filtered"
    assert (await answer()).cost == Decimal("1.3")


async def test_a_refusal_that_nobody_counts_frees_no_attempt_before_it(
    user, provider, upstream, turn, model, monkeypatch
):
    monkeypatch.setattr(retry, "_BASE_DELAY_S", 0.01)
    await model(price={"bills_refusals": False})
    counted = {"prompt_tokens": 7, "completion_tokens": 0}
    # An iterator, so that the next attempt does not get the same step.
    upstream.steps = iter([{"error": {"code": 500}, "usage": counted}])
    upstream.reason = "content_filter"
    upstream.usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    end = await end_of(user, turn("Hi"))
    assert isinstance(end, Failed)
    assert end.error.code == "content_filtered"
    assert len(upstream.requests) == 2
    stored = await answer()
    assert (stored.input_tokens, stored.cost) == (7, Decimal("0.7"))


async def test_a_refusal_in_mid_answer_is_billed(user, provider, upstream, turn, model):
    await model(price={"bills_refusals": False})
    upstream.reason = "content_filter"
    await end_of(user, turn("Hi"))
    assert (await answer()).cost == Decimal("1.3")


async def test_a_cost_is_as_fine_everywhere_as_it_is_stored(
    user, provider, upstream, turn, model
):
    await model(price={"input": "0.000333", "output": "0.000333"})
    end = await end_of(user, turn("Hi"))
    stored = await answer()
    # 10 x 0.000333 millionths are 0.00000000333
    assert isinstance(end, Done)
    assert end.cost == stored.cost == Decimal("0.0000000033")


# --- Reservations ------------------------------------------------------------------


async def test_a_budget_reserves_the_most_that_an_answer_can_cost(
    user, provider, upstream, turn, model
):
    await model(price={"input": 1, "cache_write": 4, "output": 2})
    fields = {"user": user, "period": "day", "unit": Budget.Unit.DOLLARS, "limit": 10}
    row = await in_database(lambda: Budget.objects.create(**fields))
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("x" * 400, max_tokens=100)):
        (reserved,) = await reservations()
        go.set()
    # 3 attempts, each of 100 and a few tokens at 4 and of 100 at 2
    assert 3 * Decimal("0.0006") <= reserved <= 3 * Decimal("0.00065")
    # 7 x 1 + 3 x 2 millionths
    assert await spent(row) == Decimal("0.000013")


async def test_a_budget_in_dollars_takes_a_model_that_is_priced(
    user, provider, upstream, turn, model
):
    await model("model-2", None)
    fields = {"user": user, "period": "day", "unit": Budget.Unit.DOLLARS, "limit": 10}

    def prepare() -> None:
        Budget.objects.create(**fields)
        Provider.objects.update(input_price=None)
        make_model(provider)

    await in_database(prepare)
    with pytest.raises(ChatError) as refused:
        await events_of(user, turn("Hi", model="model-2"))
    assert refused.value.code == "price_not_configured"
    assert isinstance(await end_of(user, turn("Hi")), Done)


# --- Which models exist --------------------------------------------------------------


async def test_a_disabled_model_is_refused_and_an_unknown_one_passes(
    user, provider, upstream, turn, model
):
    await model("model-2", enabled=False)
    with pytest.raises(ChatError) as refused:
        await events_of(user, turn("Hi", model="model-2"))
    assert (refused.value.code, refused.value.status) == ("model_not_found", 404)
    assert not upstream.requests
    assert isinstance(await end_of(user, turn("Hi", model="alias")), Done)
    assert upstream.requests[0]["model"] == "alias"


async def test_who_may_not_use_a_provider_is_not_told_which_models_are_disabled(
    user, provider, upstream, turn, model
):
    await model("model-2", enabled=False)
    await in_database(lambda: Provider.objects.update(restricted=True))
    with pytest.raises(ChatError) as refused:
        await events_of(user, turn("Hi", model="model-2"))
    assert refused.value.code == "permission_denied"


async def test_a_fallback_whose_model_is_disabled_does_not_answer(
    user, provider, upstream, turn, fallback
):
    upstream.status = 401
    await in_database(lambda: make_model(fallback, "spare-1", enabled=False))
    assert isinstance(await end_of(user, turn("Hi")), Failed)


@pytest.mark.parametrize(
    ("able", "options"),
    [
        ("takes_images", {}),
        ("takes_tools", {"tools": ({"type": "function", "function": {"name": "f"}},)}),
    ],
)
async def test_what_a_model_cannot_take_is_refused_before_it_is_asked(
    user, provider, upstream, turn, model, able, options
):
    await model(**{able: False})
    picture = Image(media_type="image/png", data="aGk=")
    images = () if options else (picture,)
    asked = replace(
        turn("Hi"),
        messages=(ChatMessage("user", "Hi", images=images),),
        options=Options(**options),
    )
    with pytest.raises(ChatError) as refused:
        await events_of(user, asked)
    assert refused.value.code == "bad_request"
    assert not upstream.requests
    other = replace(asked, model="other", session_id="s-2")
    assert isinstance(await end_of(user, other), Done)


async def listed(user: Any) -> list[dict[str, Any]]:
    def get() -> list[dict[str, Any]]:
        client = APIClient()
        client.force_authenticate(user)
        rows = client.get("/llm/providers").json()["providers"]
        return next(row["models"] for row in rows if row["name"] == "test")

    return await in_database(get)


async def test_the_enabled_models_are_listed_with_what_is_known_of_them(
    user, provider, model
):
    today = timezone.now().date()
    await in_database(lambda: Provider.objects.update(input_price=None))
    await model("late", position=9)
    await model("off", enabled=False)
    await model("gone", retires_on=today)
    await model(
        "first",
        None,
        position=1,
        label="First",
        context_tokens=8000,
        max_output_tokens=500,
        takes_tools=False,
        reasons=True,
        retires_on=today + timedelta(days=1),
    )
    unknown = {"contextTokens": None, "maxOutputTokens": None}
    assert await listed(user) == [
        {
            "name": "model-1",
            "label": "model-1",
            **unknown,
            "abilities": None,
            "priced": False,
        },
        {
            "name": "first",
            "label": "First",
            "contextTokens": 8000,
            "maxOutputTokens": 500,
            "abilities": ["images", "reasoning"],
            "priced": False,
        },
        {
            "name": "late",
            "label": "late",
            **unknown,
            "abilities": ["images", "tools"],
            "priced": True,
        },
    ]


async def test_only_the_models_that_a_user_may_use_are_listed(user, provider, model):
    await model("model-2")
    await model("other-1")
    await model("other-2", enabled=False)

    def allow() -> None:
        Provider.objects.update(restricted=True)
        group = Group.objects.create(name="some")
        user.groups.add(group)
        ProviderAccess.objects.create(
            provider=provider, group=group, allowed_models="other-*\nother-2\nnamed"
        )

    await in_database(allow)
    assert [one["name"] for one in await listed(user)] == ["other-1", "named"]


# --- What is shipped -----------------------------------------------------------------


def ship(**fields: Any) -> dict[str, list[Price]]:
    """Run the migration for these providers; return the prices of each model."""
    Provider.objects.all().delete()
    for name, values in fields.items():
        made = {"label": name, "protocol": name, **values}
        Provider.objects.create(name=name, **made)
    shipped.add_models(apps, None)
    rows = ProviderModel.objects.prefetch_related("prices")
    return {row.name: list(row.prices.all()) for row in rows}


@pytest.mark.django_db
def test_the_living_models_are_shipped_with_the_prices_that_are_known():
    found = ship(
        openai={"default_model": "gpt-6-luna"},
        claude={"default_model": "claude-sonnet-5-5"},
        gemini={"default_model": "gemini-3.8-flash"},
        deepseek={"default_model": "deepseek-flash"},
        local={
            "protocol": "openai",
            "default_model": "SmolLM2-135M-Instruct",
            "input_price": 0,
            "output_price": 0,
        },
    )
    priced = {name for name, prices in found.items() if prices}
    assert priced == shipped.PRICES.keys()
    assert {"gpt-6-luna", "claude-sonnet-5-5", "gemini-3.8-flash"} <= found.keys()
    assert all(price.source for prices in found.values() for price in prices)
    for row in Price.objects.select_related("model__provider"):
        row.full_clean()
        row.model.full_clean()
    count = ProviderModel.objects.count()
    shipped.add_models(apps, None)
    assert ProviderModel.objects.count() == count


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("own", "has_price"),
    [((1, 2), False), ((1, None), True), ((None, None), True), ((0, 0), False)],
)
def test_an_operator_s_price_of_the_default_model_stays_in_force(own, has_price):
    values = dict(zip(("input_price", "output_price"), own, strict=True))
    found = ship(deepseek={"default_model": "deepseek-flash", **values})
    assert bool(found["deepseek-flash"]) == has_price
    assert found["deepseek-v4-flash"]


@pytest.mark.django_db
def test_a_provider_that_an_operator_made_another_one_is_left_alone():
    assert ship(claude={"protocol": "openai", "default_model": "m"}) == {}


# --- Bills -------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_peak_is_that_of_the_moment_at_which_an_answer_began():
    """The moment of its end does not count, which is stored later."""
    ship(deepseek={"default_model": "deepseek-flash", "needs_key": False})
    route = catalogue.route("deepseek", Access({"deepseek": ("*",)}))
    used = Usage(1_000_000, 0, "provider")
    ids = dict.fromkeys(("conversation_id", "message_id", "question_id"))
    for minute, cost in ((59, "0.30"), (60, "0.15")):
        began = datetime(2026, 11, 26, 3, tzinfo=UTC) + timedelta(minutes=minute)
        begun = Begun(1, route, **ids, thread_hash="", began_at=began)  # type: ignore[arg-type]
        bill = billing.bill(begun, Outcome(Message.State.COMPLETE, "x", used, "m"))
        assert bill.cost == Decimal(cost)
    assert memory.current().providers["deepseek"].model_rows
