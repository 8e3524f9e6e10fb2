"""Offsets: what a client hands back to say which events it has.

An offset is the number of an event and, for each log that the client is being told (an
answer that is written), how far it has that: `17`, or `17.<log>:1205`. The number is
for the worker that has the socket. The marks are for one that has to make it anew. Of
more logs than there is room for an offset says only that: `17.+`.

Spec: Socket.IO, "Connection state recovery": the last argument of each event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

# In one offset. They go with each event.
MAX_MARKS = 8
_TOO_MANY = "+"
_MARK = re.compile(r"([A-Za-z0-9_-]{1,40}):([0-9]{1,15})")


class Seen(NamedTuple):
    """What a client has: events up to a number, logs up to positions.

    `marks` are None where it is being told too many to say.
    """

    number: int
    marks: dict[str, int] | None


class Marks:
    """How far one client is with each log that it is being told.

    They go with the offsets of what it is sent, so they outlive the worker.
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
        """Note how far the client is, with what it is sent from now on."""
        self._positions[log] = position

    def along(self, log: str, positions: Sequence[int]) -> list[str]:
        """Note that events bring a log to these positions; return what each says."""
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
        """Return what other marks are made of, in another worker."""
        return dict(self._positions)


def read_offset(offset: str | None) -> Seen | None:
    """Return what an offset says; None: it is none.

    A client that has not had an event hands back none, and has nothing.
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
