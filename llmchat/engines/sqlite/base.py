"""SQLite with short waits for a lock, shorter still while it is known to be held."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from functools import lru_cache
from typing import Any

from django.db.backends.sqlite3 import base

from llmchat import database

# How long to wait for a lock: in a command such as `prune`, in a request, and while
# the lock is known to be held.
_COMMAND_S = 20.0
_REQUEST_S = 4.0
_KNOWN_S = 0.2
# How many statements are remembered in SQLite's style.
_STATEMENTS = 256


class Cursor(base.SQLiteCursorWrapper):
    """Django's own cursor, but it converts a statement to SQLite's style only once."""

    def convert_query(self, query: str, *, param_names: Any = None) -> str:
        """Return the statement with SQLite's placeholders; called by Django."""
        if param_names is not None:
            return super().convert_query(query, param_names=param_names)
        return _converted(query)


@lru_cache(_STATEMENTS)
def _converted(query: str) -> str:
    return str(base.FORMAT_QMARK_REGEX.sub("?", query).replace("%%", "%"))


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own backend, with a lock timeout that follows the deadline."""

    _usual_s: float
    _timeout_s: float

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Open a connection with a lock timeout; called by Django."""
        usual_s = _REQUEST_S if database.is_serving else _COMMAND_S
        conn_params = {"timeout": usual_s, **conn_params}
        self._usual_s = self._timeout_s = conn_params["timeout"]
        return super().get_new_connection(conn_params)

    def create_cursor(self, name: Any = None) -> Any:
        """Adjust the lock timeout; called by Django before each statement."""
        timeout_s = self._lock_timeout()
        if timeout_s != self._timeout_s:
            self._timeout_s = timeout_s
            self.connection.execute(f"PRAGMA busy_timeout = {timeout_s * 1000:.0f}")
        return self.connection.cursor(factory=Cursor)

    def _lock_timeout(self) -> float:
        """Return the current lock timeout, within the caller's deadline."""
        if database.outage.lasts:
            return _KNOWN_S
        deadline = database.deadline()
        if deadline is None:
            return self._usual_s
        left_s = round(deadline - time.monotonic(), 1)
        return max(_KNOWN_S, min(self._usual_s, left_s))

    def probe(self) -> None:
        """Acquire and release the write lock.

        Raises: sqlite3.OperationalError, if another process holds it.
        """
        path = self.get_connection_params()["database"]
        opened = sqlite3.connect(path, timeout=_KNOWN_S, isolation_level=None, uri=True)
        with closing(opened) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
