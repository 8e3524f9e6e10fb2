"""Events on their way to a client, as runs of those that follow each other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmchat.realtime.line import SocketIOLine, Unconfirmed
from llmchat.realtime.replay import Replay


def runs_of(*sent: tuple[list[str | bytes], int]) -> list[tuple[int, int, int]]:
    """Return the runs that a line makes of events, each with its number."""
    line: Any = object.__new__(SocketIOLine)
    line._sent, line._unconfirmed = 0, None
    line._peer = SimpleNamespace(send=lambda messages: None)
    replay = Replay()
    for messages, number in sent:
        line.send(messages, replay, number)
    return [(run.first, run.last, run.number) for run in line._unconfirmed]


@pytest.mark.parametrize(
    ("second", "runs"),
    [
        ((["b"], 2), [(1, 2, 2)]),
        ((["b", "c"], 3), [(1, 3, 3)]),
        ((["b"], 3), [(1, 1, 1), (2, 2, 3)]),
        # A number was used up, and this is one event, not two.
        ((["b", b"c"], 3), [(1, 1, 1), (3, 3, 3)]),
    ],
    ids=["next", "two", "a gap", "an attachment behind a gap"],
)
def test_only_events_of_one_message_each_make_a_run(second, runs):
    assert runs_of((["a"], 1), second) == runs


class Kept:
    """What is notified."""

    def __init__(self) -> None:
        self.confirmed: list[int] = []

    def confirm(self, number: int) -> None:
        self.confirmed.append(number)


def test_a_run_is_confirmed_in_parts() -> None:
    kept = Kept()
    run = Unconfirmed(5, kept, 101)
    run.last, run.number = 9, 105

    assert not run.confirm(5)
    assert not run.confirm(7)
    assert run.confirm(12)

    assert kept.confirmed == [101, 103, 105]
    assert run.first == 10


def test_an_event_by_itself_is_confirmed_at_once() -> None:
    kept = Kept()

    assert Unconfirmed(3, kept, 0).confirm(3)

    assert kept.confirmed == [0]
