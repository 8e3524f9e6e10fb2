"""What the tests of the providers share."""

from __future__ import annotations

import pytest

from llmchat.providers import retry


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_BASE_DELAY_S", 0.01)
