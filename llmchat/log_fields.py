"""The fields of a log line besides its text: whose request and turn it is about.

The fields belong to the task that sets them and to the tasks that it starts; they are
set once for a request and once for a turn. They are ids, never text that a user wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

_fields: ContextVar[Mapping[str, object]] = ContextVar("log_fields")
_NONE: Mapping[str, object] = {}


def begin(**fields: object) -> None:
    """Set the fields, replacing those inherited from the task that started this one."""
    _fields.set(fields)


def add(**fields: object) -> None:
    """Set more fields."""
    _fields.set({**current(), **fields})


def current() -> Mapping[str, object]:
    """Return the fields of the running task."""
    return _fields.get(_NONE)
