"""The door of the server, busy until the test lets in who waits at it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from llmchat.realtime.turns import Turns


class Door:
    """The turns of all who come, given by the test; at first, nobody has to wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._waiting: list[Callable[[], None]] = []
        self._somebody = asyncio.Event()

    def close(self) -> None:
        """Make all who come from now on wait until they are let in."""
        self._monkeypatch.setattr(Turns, "is_door_free", False)
        self._monkeypatch.setattr(Turns, "call", self._wait)

    def _wait(self, callback: Callable[[], None], *, at_the_door: bool = False) -> None:
        self._waiting.append(callback)
        self._somebody.set()

    async def somebody(self) -> None:
        """Return when somebody waits."""
        await self._somebody.wait()

    def let_in(self) -> None:
        """Give all who wait their turns."""
        waiting, self._waiting = self._waiting, []
        self._somebody.clear()
        for callback in waiting:
            callback()


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    """Return the door of this process."""
    return Door(monkeypatch)
