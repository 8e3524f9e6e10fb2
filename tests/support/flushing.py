"""A flush that keeps the rows that Django's own would delete and create again.

A test with `transactional_db` ends with a flush. Django's empties every table, though a
test has filled only a few, and then creates the content types, the permissions and the
roles again, object by object. That takes as long as many a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import flush
from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.operations import BaseDatabaseOperations

from llmchat.database import sqlstate

__all__ = ["flush_kept"]

Rows = list[tuple[Any, ...]]
# SQLite binds no more than 250,000 values to a statement, PostgreSQL 65,535.
AT_ONCE = 1000
# Deleted rows stay in the files of PostgreSQL for a while, and every query reads them.
MAX_BYTES = 4 * 1024 * 1024
# Background work of a test may outlast it by a moment, and lock tables in another order
# than a flush does: PostgreSQL aborts one of the two.
TRIES = 5
DEADLOCK = "40P01"


class Flush(flush.Command):
    """Replaces Django's command, and leaves the same rows that it would leave."""

    # By database: the tables that are not empty after Django's own flush.
    _kept: dict[str, dict[str, Rows]] = {}

    def handle(self, **options: Any) -> None:
        """Empty the database as Django does the first time, and faster from then on."""
        database: str = options["database"]
        connection = connections[database]
        resets = options.get("reset_sequences", True)
        is_emptied = options.get("inhibit_post_migrate", False)
        if not resets and not is_emptied and database in self._kept:
            with transaction.atomic(using=database):
                is_done = _restore(connection, self._kept[database])
            if is_done:
                return
        super().handle(**options)
        if not is_emptied:
            self._kept[database] = _read(connection, _tables(connection))


def _restore(connection: BaseDatabaseWrapper, kept: dict[str, Rows]) -> bool:
    """Delete all but the kept rows; return False if Django's flush is needed."""
    ContentType.objects.clear_cache()  # as creating them would
    tables = _tables(connection)
    if connection.vendor == "postgresql":
        # Nothing that a test has left running can write after the flush.
        _execute(connection, f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE")
        if _bytes(connection, tables) > MAX_BYTES:
            return False
    # A trigger may fill a table that was emptied before.
    while changed := list(_changed(connection, tables, kept)):
        for table in changed:
            _execute(connection, f"DELETE FROM {table}")
        for table in changed:
            if table in kept:
                _write(connection, table, kept[table])
    return True


def _changed(
    connection: BaseDatabaseWrapper, tables: Iterable[str], kept: dict[str, Rows]
) -> Iterator[str]:
    """Yield the tables whose rows are not those that are kept."""
    yield from _filled(connection, [name for name in tables if name not in kept])
    found = _read(connection, kept)
    for table, rows in kept.items():
        if sorted(map(repr, rows)) != sorted(map(repr, found.get(table, []))):
            yield table


def _tables(connection: BaseDatabaseWrapper) -> list[str]:
    names = connection.introspection.django_table_names(
        only_existing=True, include_views=False
    )
    return [connection.ops.quote_name(name) for name in names]


def _bytes(connection: BaseDatabaseWrapper, tables: Iterable[str]) -> int:
    sizes = (f"pg_relation_size('{table}'::regclass)" for table in tables)
    size: int = _execute(connection, f"SELECT {' + '.join(sizes)}")[0][0]
    return size


def _filled(connection: BaseDatabaseWrapper, tables: Iterable[str]) -> list[str]:
    """Return which of the tables have rows."""
    queries = (
        f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {table})" for table in tables
    )
    return [table for (table,) in _execute(connection, " UNION ALL ".join(queries))]


def _read(connection: BaseDatabaseWrapper, tables: Iterable[str]) -> dict[str, Rows]:
    """Return the rows of those tables that have any."""
    return {
        table: _execute(connection, f"SELECT * FROM {table}")
        for table in _filled(connection, tables)
    }


def _write(connection: BaseDatabaseWrapper, table: str, rows: Rows) -> None:
    row = f"({', '.join(['%s'] * len(rows[0]))})"
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        values = [value for one in some for value in one]
        _execute(
            connection,
            f"INSERT INTO {table} VALUES {', '.join([row] * len(some))}",
            values,
        )


def _execute(
    connection: BaseDatabaseWrapper, statement: str, values: list[Any] | None = None
) -> Rows:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def _insistent(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is tried again if PostgreSQL aborts it for a deadlock."""

    def insist(*args: Any, **options: Any) -> Any:
        for _ in range(TRIES - 1):
            try:
                return execute(*args, **options)
            except OperationalError as exc:
                if sqlstate(exc) != DEADLOCK:
                    raise
        return execute(*args, **options)

    return insist


@pytest.fixture(scope="session", autouse=True)
def flush_kept() -> Iterator[None]:
    """Make every flush of a process quick, except for the first one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "Command", Flush)
        patch.setattr(Flush, "handle", _insistent(Flush.handle))
        insistent = _insistent(BaseDatabaseOperations.execute_sql_flush)
        patch.setattr(BaseDatabaseOperations, "execute_sql_flush", insistent)
        yield
