"""The background work of a server: one kind of work does not hold up another."""

from __future__ import annotations

import asyncio
import threading

import pytest

from llmchat.answers import runtime


async def test_no_sweep_waits_for_the_totals_of_days(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    added_up, swept = threading.Event(), []
    monkeypatch.setattr(runtime, "SWEEP_S", 0.01)
    monkeypatch.setattr(runtime, "sweep", lambda written: swept.append(written))
    monkeypatch.setattr(
        runtime.day_totals, "keep_some", lambda go_on: not added_up.wait(30)
    )
    runtime.get()
    try:
        async with asyncio.timeout(10):
            while len(swept) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        added_up.set()
        await runtime.shutdown()
