"""What a flush leaves in the database, put back as it was instead of made anew.

A test with `transactional_db` ends with a flush, which has Django make the content
types, the permissions and the roles again, object by object: as long as many a test
takes. They are the same each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import flush
from django.core.management.sql import emit_post_migrate_signal
from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.operations import BaseDatabaseOperations

from llmchat.database import sqlstate

__all__ = ["flush_kept"]

Rows = list[tuple[Any, ...]]
# SQLite binds no more than 250,000 values to a statement, PostgreSQL 65,535.
AT_ONCE = 1000
# What goes on in the background of a test may last a moment longer than it, and lock
# tables in another order than a flush does: PostgreSQL ends one of the two.
TRIES = 5
DEADLOCK = "40P01"

Flush = Callable[[BaseDatabaseOperations, list[str]], None]


class Kept:
    """Takes the place of `emit_post_migrate_signal` in the command `flush`."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, Rows]] = {}

    def __call__(self, verbosity: int, interactive: bool, database: str) -> None:
        """Have the emptied database filled, or fill it with what that has made."""
        connection = connections[database]
        if database not in self._tables:
            emit_post_migrate_signal(verbosity, interactive, database)
            self._tables[database] = _read(connection)
            return
        ContentType.objects.clear_cache()  # as whoever makes them does
        with transaction.atomic(using=database):
            for table, rows in self._tables[database].items():
                _write(connection, table, rows)


def _read(connection: BaseDatabaseWrapper) -> dict[str, Rows]:
    """Return the rows of all tables that a flush empties."""
    found: dict[str, Rows] = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.django_table_names(
            only_existing=True, include_views=False
        ):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            if rows := cursor.fetchall():
                found[table] = rows
    return found


def _write(connection: BaseDatabaseWrapper, table: str, rows: Rows) -> None:
    row = f"({', '.join(['%s'] * len(rows[0]))})"
    name = connection.ops.quote_name(table)
    with connection.cursor() as cursor:
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            cursor.execute(
                f"INSERT INTO {name} VALUES {', '.join([row] * len(some))}",
                [value for one in some for value in one],
            )


def _insistent(execute: Flush) -> Flush:
    """Return a flush that is tried again if it is the one that was ended."""

    def insist(operations: BaseDatabaseOperations, statements: list[str]) -> None:
        for _ in range(TRIES - 1):
            try:
                return execute(operations, statements)
            except OperationalError as exc:
                if sqlstate(exc) != DEADLOCK:
                    raise
        return execute(operations, statements)

    return insist


@pytest.fixture(scope="session", autouse=True)
def flush_kept() -> Iterator[None]:
    """Let every flush of the suite put back what the first one has made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "emit_post_migrate_signal", Kept())
        insistent = _insistent(BaseDatabaseOperations.execute_sql_flush)
        patch.setattr(BaseDatabaseOperations, "execute_sql_flush", insistent)
        yield
