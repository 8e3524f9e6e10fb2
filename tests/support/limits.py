"""Limits per minute, without a minute that ends while a test counts."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest
from django.core.cache import cache
from django_ratelimit import core


def hold_the_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the minute in which attempts and messages are counted last forever.

    It begins now: nothing has been counted in it.
    """
    cache.clear()
    monkeypatch.setattr(core, "time", SimpleNamespace(time=lambda: 1_800_000_000.0))


async def time_in_the_minute(user_id: int, needed_s: float = 10.0) -> None:
    """Wait for the next minute of a user's messages if too little of this one is left.

    For tests of servers, whose clock they cannot stop.
    """
    left_s = core._get_window(str(user_id), 60) - time.time()
    if left_s < needed_s:
        await asyncio.sleep(left_s + 1)
