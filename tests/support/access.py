"""Helpers for the tests of access: what they read and what they set up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group

from llmchat.access.catalogue import Route
from llmchat.books.turn import Turn
from llmchat.database import in_database
from llmchat.models import (
    Budget,
    Conversation,
    Message,
    Provider,
    ProviderAccess,
    Reservation,
)
from llmchat.providers.types import Usage


async def spent(budget: Budget) -> Decimal:
    await in_database(budget.refresh_from_db)
    return budget.spent


async def reservations() -> list[Decimal]:
    rows = Reservation.objects.order_by("pk").values_list("amount", flat=True)
    return await in_database(lambda: list(rows))


async def booked() -> set[tuple[int, int, Decimal]]:
    """Return what is booked on the answers and on the conversations."""

    def read() -> set[tuple[int, int, Decimal]]:
        fields = ("input_tokens", "output_tokens", "cost")
        answers = Message.objects.filter(role="assistant").values_list(*fields)
        return {*answers, *Conversation.objects.values_list(*fields)}

    return await in_database(read)


def gemini_provider(name: str, default_model: str = "gemini-flash") -> Provider:
    """Store a provider of Gemini's protocol that needs no key."""
    return Provider.objects.create(
        name=name,
        label=name.capitalize(),
        protocol="gemini",
        base_url="http://127.0.0.1:9",
        default_model=default_model,
        needs_key=False,
    )


def add_fallback(provider: Provider, base_url: str) -> None:
    provider.fallback = Provider.objects.create(
        name="other",
        label="Other",
        protocol="openai",
        base_url=base_url,
        default_model="model-2",
        needs_key=False,
        input_price=10,
        output_price=20,
    )
    provider.save()


def cost_of(
    route: Route, usage: Usage, model: str | None = None, at: datetime | None = None
) -> Decimal | None:
    """Return what a request is billed, None if it is not priced."""
    found = route.charge(usage, model, at)
    return found.cost if found else None


async def answer() -> Message:
    """Return the only stored answer."""
    return await in_database(lambda: Message.objects.get(role="assistant"))


def turn_for(turn: Callable[..., Turn], api: str, scenario: str) -> Turn:
    """Return a turn that plays a scenario."""
    asked = turn("Hi", model=f"scenario-{scenario}")
    return replace(asked, provider=api)


def env_name(api: str) -> str:
    return "anthropic" if api == "claude" else api


def forbid_the_default_model(user: Any, provider: Provider) -> None:
    provider.restricted = True
    provider.save()
    group = Group.objects.create(name="some")
    user.groups.add(group)
    ProviderAccess.objects.create(
        provider=provider, group=group, allowed_models="spare-2"
    )
