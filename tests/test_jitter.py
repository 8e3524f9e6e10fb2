"""What the jitter run takes for wrong, and how it measures lost text."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.jitter_limits import NEVER, Faults, wrong
from tests.support.numbers import Sent

KILLS, RESTARTS = Faults(kills=True), Faults(restarts=True)
REDIS = Faults(redis_down=True)
RESETS = Faults()


def counted(**fields: Any) -> dict[str, Any]:
    """Return what a run without any fault counts, with other `fields`."""
    good = dict.fromkeys(NEVER, 0) | {
        "whole": 40,
        "interrupted": 0,
        "recovered": 5000,
        "fresh": 0,
        "turnedAway": {},
        "refused": {},
        "lostTextS": 0.0,
        "caughtUpMs": {"p99": 1000},
        "backMs": {"p95": 2000},
    }
    return good | fields


def test_a_good_run_is_within_all_limits() -> None:
    for faults in (RESETS, KILLS, RESTARTS, REDIS):
        assert wrong(counted(), faults) == []


@pytest.mark.parametrize("name", NEVER)
def test_what_must_never_be_is_wrong_whatever_is_done(name: str) -> None:
    every = Faults(kills=True, restarts=True, redis_down=True)
    assert len(wrong(counted(**{name: 1}), every)) == 1


def test_a_run_without_any_return_is_judged_by_the_rest() -> None:
    nothing = {"p95": None, "p99": None}
    fields = {"caughtUpMs": nothing, "backMs": nothing, "recovered": 0}
    assert wrong(counted(**fields), RESTARTS) == []
    assert wrong(counted(whole=0, **fields), RESTARTS) == [
        "no answer was received whole"
    ]


@pytest.mark.parametrize(
    ("fields", "excused"),
    [
        ({"interrupted": 1}, {KILLS, RESTARTS}),
        ({"fresh": 6}, {REDIS}),
        ({"refused": {"interrupted": 1}}, {KILLS}),
        ({"refused": {"draining": 1}}, {RESTARTS}),
        ({"turnedAway": {"draining": 1}}, {RESTARTS}),
        ({"turnedAway": {"database_unavailable": 1}}, set()),
        ({"caughtUpMs": {"p99": 1001}}, {KILLS, REDIS}),
        ({"backMs": {"p95": 2001}}, {RESETS, KILLS, REDIS}),
        ({"lostTextS": 1.01}, set()),
    ],
)
def test_what_a_fault_explains_is_wrong_without_it(
    fields: dict[str, Any], excused: set[Faults]
) -> None:
    for faults in (RESETS, KILLS, RESTARTS, REDIS):
        found = wrong(counted(**fields), faults)
        assert len(found) == (faults not in excused), (faults, found)


def test_one_fresh_socket_in_a_thousand_returns_is_allowed() -> None:
    assert wrong(counted(recovered=4995, fresh=5), RESETS) == []
    assert wrong(counted(recovered=4994, fresh=6), RESETS) != []


@pytest.mark.parametrize(
    ("stored", "lost_s"), [("0 1 2 3 ", 0.0), ("0 1 2 ", 0.0), ("0 ", 2.5), ("", 3.0)]
)
def test_lost_text_is_as_old_as_the_first_number_that_is_missing(
    stored: str, lost_s: float
) -> None:
    assert Sent([10.0, 10.5, 12.0, 13.0]).lost_s(stored) == lost_s
