"""SQLite: readers wait for nobody, and nobody waits for a lock known to be held."""

from __future__ import annotations

import sqlite3
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

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Called by Django."""
        usual_s = _REQUEST_S if database.is_serving else _COMMAND_S
        conn_params = {"timeout": usual_s, **conn_params}
        if database.outage.lasts:
            conn_params["timeout"] = _KNOWN_S
        return super().get_new_connection(conn_params)

    def probe(self) -> None:
        """Take the lock of writers and let it go.

        Raises: sqlite3.OperationalError, where another holds it.
        """
        path = self.get_connection_params()["database"]
        opened = sqlite3.connect(path, timeout=_KNOWN_S, isolation_level=None, uri=True)
        with closing(opened) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
