"""What a flush leaves in the database, put back as it was instead of made anew.

A test with `transactional_db` ends with a flush, which has Django make the content
types, the permissions and the roles again, object by object: as long as many a test
takes. They are the same each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import flush
from django.core.management.sql import emit_post_migrate_signal
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["flush_kept"]

Rows = list[tuple[Any, ...]]
# SQLite binds no more than 250,000 values to a statement, PostgreSQL 65,535.
AT_ONCE = 1000


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


@pytest.fixture(scope="session", autouse=True)
def flush_kept() -> Iterator[None]:
    """Let every flush of the suite put back what the first one has made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "emit_post_migrate_signal", Kept())
        yield
