"""Who begins to watch for signals, and what the signals then do, in this process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from serving import garbage
from serving.draining import Draining

STOPS = (signal.SIGINT, signal.SIGTERM)


class RealTime:
    """What joins the other workers; it may fail."""

    def __init__(self, *fails: bool) -> None:
        self._fails = list(fails)
        self.joins = 0

    def join(self) -> None:
        self.joins += 1
        if self._fails and self._fails.pop(0):
            raise ValueError("a wrong variable")


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the handlers of signals back, and leave garbage as the tests collect it."""
    monkeypatch.setattr(garbage, "settle", lambda: None)
    before = {number: signal.signal(number, stop_server) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def stop_server(number: int, frame: Any) -> None:
    """What the server does with a signal."""


async def test_a_start_that_fails_is_tried_again_by_the_next_request() -> None:
    """As daphne has it, which does not tell of its start."""
    real_time = RealTime(True, False)
    drain = Draining(real_time)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="wrong variable"):
        drain.watch()
    assert signal.getsignal(signal.SIGTERM) is stop_server

    for _ in range(2):
        drain.watch()
    assert signal.getsignal(signal.SIGTERM) is not stop_server
    assert real_time.joins == 2
