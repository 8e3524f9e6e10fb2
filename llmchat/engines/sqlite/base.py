"""SQLite: readers wait for nobody, and nobody waits for a lock known to be held."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import Any

from django.db.backends.sqlite3 import base

from llmchat import database

# How long to wait for a lock: in a command such as `prune`, for a request, and where
# the lock is known to be held.
_COMMAND_S = 20.0
_REQUEST_S = 4.0
_KNOWN_S = 0.2


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own, which gives up sooner during an outage."""

    _usual_s: float
    _patience_s: float

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Called by Django."""
        usual_s = _REQUEST_S if database.is_serving else _COMMAND_S
        conn_params = {"timeout": usual_s, **conn_params}
        self._usual_s = self._patience_s = conn_params["timeout"]
        return super().get_new_connection(conn_params)

    def create_cursor(self, name: Any = None) -> Any:
        """Called by Django before each statement."""
        patience_s = self._patience()
        if patience_s != self._patience_s:
            self._patience_s = patience_s
            self.connection.execute(f"PRAGMA busy_timeout = {patience_s * 1000:.0f}")
        return super().create_cursor(name)

    def _patience(self) -> float:
        """Return how long to wait for a lock now: not beyond the caller's deadline."""
        if database.outage.lasts:
            return _KNOWN_S
        deadline = database.deadline()
        if deadline is None:
            return self._usual_s
        left_s = round(deadline - time.monotonic(), 1)
        return max(_KNOWN_S, min(self._usual_s, left_s))

    def probe(self) -> None:
        """Take the lock of writers and let it go.

        Raises: sqlite3.OperationalError, where another holds it.
        """
        path = self.get_connection_params()["database"]
        opened = sqlite3.connect(path, timeout=_KNOWN_S, isolation_level=None, uri=True)
        with closing(opened) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
