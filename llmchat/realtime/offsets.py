"""Offsets: what a client hands back to say which events it has.

An offset is the number of an event and, for each log that the client is being sent (an
answer that is being written), how far the client is with it: `17`, or `17.<log>:1205`.
The number is for the worker that has the socket; these marks are for a worker that has
to recreate it. If there are more logs than an offset has room for, it says only that:
`17.+`.

Spec: Socket.IO, "Connection state recovery": the last argument of each event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

# The most marks in one offset, since each event carries an offset.
MAX_MARKS = 8
_TOO_MANY = "+"
_MARK = re.compile(r"([A-Za-z0-9_-]{1,40}):([0-9]{1,15})")


class Seen(NamedTuple):
    """What a client has: events up to a number, logs up to positions.

    `marks` is None if the client is being sent too many logs for an offset.
    """

    number: int
    marks: dict[str, int] | None


class Marks:
    """How far one client is with each log that it is being sent.

    They are part of the offsets of the events it gets, so they outlive the worker.
    """

    __slots__ = ("_positions",)

    def __init__(self, positions: Mapping[str, int] | None = None) -> None:
        self._positions = dict(positions or {})

    def __str__(self) -> str:
        """Return what follows the number in an offset."""
        if not self._positions:
            return ""
        if len(self._positions) > MAX_MARKS:
            return f".{_TOO_MANY}"
        return "".join(f".{log}:{at}" for log, at in self._positions.items())

    def note(self, log: str, position: int) -> None:
        """Note how far the client is with a log; offsets from now on say so."""
        self._positions[log] = position

    def along(self, log: str, positions: Sequence[int]) -> list[str]:
        """Note that events bring a log to these positions; return the marks of each."""
        self._positions.pop(log, None)
        others = str(self)
        self.note(log, positions[-1])
        if len(self._positions) > MAX_MARKS:
            return [str(self)] * len(positions)
        return [f"{others}.{log}:{position}" for position in positions]

    def forget(self, log: str) -> None:
        """Forget a log that has ended for the client."""
        self._positions.pop(log, None)

    def hand_over(self) -> dict[str, int]:
        """Return what another worker makes its `Marks` from."""
        return dict(self._positions)


def read_offset(offset: str | None) -> Seen | None:
    """Return what an offset says; None: it is not a valid one.

    A client that has received no event hands back no offset, and has nothing.
    """
    if offset is None:
        return Seen(0, {})
    number, *marks = offset.split(".", MAX_MARKS + 1)
    if not (number.isascii() and number.isdigit() and len(number) < 16):
        return None
    if marks == [_TOO_MANY]:
        return Seen(int(number), None)
    found = [_MARK.fullmatch(mark) for mark in marks]
    if len(marks) > MAX_MARKS or None in found:
        return None
    return Seen(int(number), {m[1]: int(m[2]) for m in found if m is not None})
