"""Offsets: what a client hands back to say which events it has.

An offset is the number of an event and, for each log that the client is being told (an
answer that is written), how far it has that: `17`, or `17.<log>:1205`. The number is
for the worker that has the socket. The marks are for one that has to make it anew.

Spec: Socket.IO, "Connection state recovery": the last argument of each event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

# Of one socket; the client is told no more of them.
MAX_MARKS = 32
_MARK = re.compile(r"([A-Za-z0-9_-]{1,40}):([0-9]{1,15})")


class Seen(NamedTuple):
    """What a client has: events up to a number, logs up to positions."""

    number: int
    marks: dict[str, int]


def marked(marks: Mapping[str, int]) -> str:
    """Return what follows the number in an offset."""
    return "".join(f".{log}:{position}" for log, position in marks.items())


def read_offset(offset: str | None) -> Seen | None:
    """Return what an offset says; None: it is none.

    A client that has not had an event hands back none, and has nothing.
    """
    if offset is None:
        return Seen(0, {})
    number, *marks = offset.split(".", MAX_MARKS + 1)
    if not (number.isascii() and number.isdigit() and len(number) < 16):
        return None
    found = [_MARK.fullmatch(mark) for mark in marks]
    if len(marks) > MAX_MARKS or None in found:
        return None
    return Seen(int(number), {m[1]: int(m[2]) for m in found if m is not None})
