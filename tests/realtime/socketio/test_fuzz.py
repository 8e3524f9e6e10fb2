"""A short run of the fuzzer; `make fuzz` is the long one."""

from __future__ import annotations

import pytest

from llmchat.realtime.engineio.session import Session
from tests import fuzz


def test_mutated_packets_break_nothing() -> None:
    counts = fuzz.fuzz(20_000, seed=20261122)

    # It reached every outcome that it is meant to reach.
    for outcome in (
        "events",
        "sent",
        "upgrades",
        "violations",
        "closed: parse error",
        "closed: ping timeout",
        "closed: transport close",
        "closed: transport error",
        "closed: forced close",
    ):
        assert counts[outcome], counts


def test_the_fuzzer_reports_a_machine_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Session, "receive_frame", fail)

    with pytest.raises(fuzz.FuzzError, match="after"):
        fuzz.fuzz(1000, seed=1)


def test_the_fuzzer_reports_memory_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[fuzz.Stack] = []

    def keep(stack: fuzz.Stack) -> int:
        kept.append(stack)
        return 1

    monkeypatch.setattr(fuzz.Stack, "step", keep)

    with pytest.raises(fuzz.FuzzError, match="memory grew"):
        fuzz.fuzz(20_000, seed=1)
