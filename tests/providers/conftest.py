"""What the tests of the providers share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from llmchat.providers import retry
from tests.emulator.driver import Lab, lab


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_BASE_DELAY_S", 0.01)


@pytest.fixture
async def setting() -> AsyncIterator[Lab]:
    """An emulator of all four APIs and a client for it."""
    async with lab() as started:
        yield started
