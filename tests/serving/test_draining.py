"""When `Draining` begins to handle signals, and what they then do, in this process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from serving import garbage, master
from serving.draining import Draining

STOPS = (signal.SIGINT, signal.SIGTERM, master.HURRY)


class RealTime:
    """Joins the other workers, and fails if it is told to."""

    def __init__(self, *fails: bool) -> None:
        self._fails = list(fails)
        self.joins = 0

    def join(self) -> None:
        self.joins += 1
        if self._fails and self._fails.pop(0):
            raise ValueError("a wrong variable")


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore the signal handlers, and keep the tests' garbage collection."""
    monkeypatch.setattr(garbage, "settle", lambda: None)
    before = {number: signal.signal(number, stop_server) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def stop_server(number: int, frame: Any) -> None:
    """Stand for what the server does with a signal."""


@pytest.fixture
async def hurry(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Let the running answers take forever, until they are hurried; then set this."""
    told = asyncio.Event()

    async def drain(draining: Draining, *_: Any) -> None:
        await draining._hurry.wait()
        told.set()

    monkeypatch.setattr(Draining, "_drain", drain)
    Draining(RealTime()).watch()  # type: ignore[arg-type]
    return told


async def tell(*numbers: int) -> None:
    """Send signals to this process, one after the other."""
    for number in numbers:
        signal.raise_signal(number)  # os.kill may be late
        for _ in range(5):  # the handler, what it calls, and what that wakes
            await asyncio.sleep(0)


async def test_the_same_signal_again_skips_the_wait(hurry: asyncio.Event) -> None:
    await tell(signal.SIGINT, signal.SIGTERM)
    assert not hurry.is_set()
    await tell(signal.SIGTERM)
    async with asyncio.timeout(20):
        await hurry.wait()


@pytest.fixture
def in_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(master, "exists", lambda: True)


async def test_a_worker_waits_however_many_tell_it_to_stop(
    in_worker: None, hurry: asyncio.Event
) -> None:
    """It gets each signal from its process manager, and again from its master."""
    await tell(signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGINT)
    assert not hurry.is_set()
    await tell(master.HURRY)
    async with asyncio.timeout(20):
        await hurry.wait()


async def test_a_start_that_fails_is_tried_again_by_the_next_request() -> None:
    """This is so with daphne, which does not announce its start."""
    real_time = RealTime(True, False)
    drain = Draining(real_time)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="wrong variable"):
        drain.watch()
    assert signal.getsignal(signal.SIGTERM) is stop_server

    for _ in range(2):
        drain.watch()
    assert signal.getsignal(signal.SIGTERM) is not stop_server
    assert real_time.joins == 2
