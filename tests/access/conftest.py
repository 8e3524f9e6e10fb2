"""What the tests of access share: budgets, a fallback, providers of the emulator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from llmchat.access import keys
from llmchat.answers import runtime
from llmchat.database import in_database
from llmchat.models import Budget, Provider
from tests.emulator.application import emulator
from tests.emulator.server import Emulator
from tests.support.upstream import Upstream, running_upstream

MakeRow = Callable[..., Awaitable[Provider]]


@pytest.fixture
def budget(user):
    """Make a budget of the user, of 1000 tokens a day by default."""

    async def make(limit=1000, **fields):
        fields = {
            "user": user,
            "period": Budget.Period.DAY,
            "unit": Budget.Unit.TOKENS,
            **fields,
        }
        return await in_database(lambda: Budget.objects.create(limit=limit, **fields))

    return make


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


@pytest.fixture
async def emulated(transactional_db: None) -> AsyncIterator[Emulator]:
    """The emulator; the runtime is shut down after the test."""
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
            row = Provider.objects.update_or_create(name=api, defaults=values)[0]
            # In the first test of a database it has the models that are shipped.
            row.known_models.all().delete()
            return row

        return await in_database(save)

    return make


@pytest.fixture
def fresh_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget which keys of the environment rest."""
    monkeypatch.setattr(keys, "_resting", {})
