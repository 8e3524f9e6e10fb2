"""PostgreSQL: every wait for the server has an end, also where it only hangs.

A server that hangs keeps its connections and answers nothing: neither its own
time-outs nor those of TCP end that. So each wait looks at the deadline of its caller
and closes the connection behind it.

Time-outs of the server are set by statement. PgBouncer refuses them at the start of a
connection.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import psycopg
from django.db import OperationalError
from django.db.backends.postgresql import base
from psycopg_pool import PoolTimeout

from llmchat import database

# An answer that takes longer may be none.
SUSPECT_S = 1.0
_CONNECT_S = 2
_COMMAND_S = 10.0
# What a server says that starts or stops. Any other word of it, that it has too many
# connections say, shows that it answers those who have one.
_NOT_NOW = ("starting up", "shutting down", "recovery mode", "not yet accepting")
# What the address, the role or the server's own configuration says wins.
_SET_TIMEOUTS = """
    SELECT set_config(name, wanted, false)
    FROM pg_settings JOIN (VALUES {}) AS ours (setting_name, wanted)
    ON name = setting_name WHERE source = 'default'
"""


class Connection(psycopg.Connection[Any]):
    """A connection that waits for its server until the caller's deadline."""

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Called by psycopg for everything that it waits for."""
        until = database.deadline()
        if until is None:
            return super().wait(gen, *args, **kwargs)
        try:
            return super().wait(_watched(gen, until), *args, **kwargs)
        except database.Overdue:
            # The answer may still come, and nobody could tell to what.
            self.close()
            raise


class Overdue(database.Overdue, psycopg.OperationalError):
    """The same, as the driver would say it."""


def _watched(gen: Any, until: float) -> Generator[Any, Any, Any]:
    began = time.monotonic()
    try:
        state = next(gen)
        while True:
            ready = yield state
            if not ready:  # nothing has come for a moment
                if time.monotonic() > began + SUSPECT_S:
                    database.outage.suspect()
                if reason := database.overdue(until):
                    raise Overdue(reason)
            state = gen.send(ready)
    except StopIteration as stop:
        return stop.value


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own, with deadlines."""

    # The driver's module, but for the class of its connections.
    Database: Any = SimpleNamespace(**vars(psycopg) | {"connect": Connection.connect})

    @property
    def pool(self) -> Any:
        """The pool of connections, None where there is none."""
        options = self.settings_dict["OPTIONS"].get("pool")
        if options:
            options["connection_class"] = Connection
        return super().pool

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Called by Django, for each request or call: the pool has the connections."""
        until = database.deadline() or time.monotonic() + _COMMAND_S
        while True:
            if reason := database.overdue(until):
                raise OperationalError(reason)
            try:
                return super().get_new_connection(conn_params)
            except PoolTimeout:
                database.outage.suspect()
            except psycopg.OperationalError:
                database.outage.suspect()
                raise

    def _configure_connection(self, connection: Any) -> bool:
        with database.until(time.monotonic() + _CONNECT_S):
            super()._configure_connection(connection)  # type: ignore[misc]
            values = ", ".join(
                f"('{name}', '{value}')" for name, value in _timeouts().items()
            )
            connection.execute(_SET_TIMEOUTS.format(values))
        return True

    def probe(self) -> None:
        """Ask the server for a sign of life.

        Raises: psycopg.OperationalError.
        """
        wanted = {"connect_timeout": _CONNECT_S, "autocommit": True}
        try:
            connection = Connection.connect(**self.get_connection_params() | wanted)
        except psycopg.OperationalError as exc:
            if "FATAL" in str(exc) and not any(word in str(exc) for word in _NOT_NOW):
                return
            raise
        with connection, database.until(time.monotonic() + SUSPECT_S, probing=True):
            connection.execute("SELECT 1")


def _timeouts() -> dict[str, str]:
    """Return the server's own time-outs: those of statements are for requests only."""
    if database.is_serving:
        return {
            "lock_timeout": "4s",
            "statement_timeout": "20s",
            "idle_in_transaction_session_timeout": "60s",
        }
    return {"lock_timeout": "10s"}
