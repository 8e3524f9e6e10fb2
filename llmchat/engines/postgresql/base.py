"""PostgreSQL with a deadline for every wait, even if the server hangs.

A server that hangs keeps its connections open and sends nothing, so neither its own
timeouts nor those of TCP help. Each wait therefore checks the deadline of its caller,
and closes the connection once the deadline has passed.

The server's timeouts are set by a statement, because PgBouncer rejects them as startup
parameters.
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

# After this silence the server is probed.
SUSPECT_S = 1.0
_CONNECT_S = 2
_COMMAND_S = 10.0
# Errors of a server that is starting or stopping. Any other error, such as too many
# connections, shows that it serves the connections that it has.
_NOT_NOW = ("starting up", "shutting down", "recovery mode", "not yet accepting")
# Errors that are not the statement's fault: the server is a standby since a failover,
# or has ended a transaction in which this process was suspended. On another connection
# the statement works.
_PASSING = (
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
)
# Values from DATABASE_URL, the role or the server's configuration win.
_SET_TIMEOUTS = """
    SELECT set_config(name, wanted, false)
    FROM pg_settings JOIN (VALUES {}) AS ours (setting_name, wanted)
    ON name = setting_name WHERE source = 'default'
"""


class Connection(psycopg.Connection[Any]):
    """A connection that waits for its server until the caller's deadline."""

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Wait for the server; called by psycopg for every wait."""
        until = database.deadline()
        watched = gen if until is None else _watched(gen, until)
        try:
            return super().wait(watched, *args, **kwargs)
        except database.Overdue:
            # A late response would be taken for the response to the next query.
            self.close()
            raise
        except _PASSING as exc:
            # The driver does not class them as operational errors.
            self.close()
            raise psycopg.OperationalError(str(exc)) from exc


class Overdue(database.Overdue, psycopg.OperationalError):
    """`Overdue` as an error of the driver."""


def _watched(gen: Any, until: float) -> Generator[Any, Any, Any]:
    began = time.monotonic()
    try:
        state = next(gen)
        while True:
            ready = yield state
            if not ready:  # nothing received for a moment
                if time.monotonic() > began + SUSPECT_S:
                    database.outage.suspect()
                if reason := database.overdue(until):
                    raise Overdue(reason)
            state = gen.send(ready)
    except StopIteration as stop:
        return stop.value


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own backend, with deadlines."""

    # The driver's module with another class of connections.
    Database: Any = SimpleNamespace(**vars(psycopg) | {"connect": Connection.connect})

    @property
    def pool(self) -> Any:
        """Return the pool of connections, None if pooling is off."""
        options = self.settings_dict["OPTIONS"].get("pool")
        if options:
            options["connection_class"] = Connection
        return super().pool

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Take a connection from the pool; called by Django for each request."""
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
        """Check that the server answers.

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
    """Return the timeouts to set; statements have one only in requests."""
    if database.is_serving:
        return {
            "lock_timeout": "4s",
            "statement_timeout": "20s",
            "idle_in_transaction_session_timeout": "60s",
        }
    return {"lock_timeout": "10s"}
