"""Events on their way to a client, as runs of those that follow each other."""

from __future__ import annotations

from llmchat.realtime.line import Unconfirmed


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
