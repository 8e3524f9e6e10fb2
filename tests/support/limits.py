"""Limits by the minute, without the minute that is over while a test counts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django_ratelimit import core


def hold_the_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the minute in which attempts and messages are counted go on for ever."""
    monkeypatch.setattr(core, "time", SimpleNamespace(time=lambda: 1_800_000_000.0))
