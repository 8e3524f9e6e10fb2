"""What a line of the log says besides its text: whose request and turn it is about.

The fields belong to the task that sets them and to what it starts: they are set once
for a request and once for a turn. They are ids, never what somebody has written.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

_fields: ContextVar[Mapping[str, object]] = ContextVar("log_fields")
_NONE: Mapping[str, object] = {}


def begin(**fields: object) -> None:
    """Set the fields, and forget those of whoever started this task."""
    _fields.set(fields)


def add(**fields: object) -> None:
    """Set more fields."""
    _fields.set({**current(), **fields})


def current() -> Mapping[str, object]:
    """Return the fields of the running task."""
    return _fields.get(_NONE)
