"""A flush that keeps the rows that Django's own would delete and create again.

A test with `transactional_db` ends with a flush. Django's empties every table, though a
test has filled only a few, and then creates the content types, the permissions and the
roles again, object by object. That takes as long as many a test.

This one has a connection of its own, which stays open. So the database keeps the plans
of its statements and, in temporary tables, copies of the rows that are to stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management.base import CommandParser
from django.core.management.commands import flush
from django.db import Error, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.operations import BaseDatabaseOperations

from llmchat.database import sqlstate

__all__ = ["django_db_setup", "flush_kept"]

# Deleted rows stay in the files of PostgreSQL for a while, and every query reads them.
MAX_BYTES = 4 * 1024 * 1024
# Background work of a test may outlast it by a moment, and lock tables in another order
# than a flush does: PostgreSQL aborts one of the two.
TRIES = 5
DEADLOCK = "40P01"
LOCK_TIMEOUT = "55P03"
# A trigger may fill a table that was emptied before, so there is a pass after the last
# one that has changed anything. Nothing that a test has left running can write after
# the lock.
FUNCTION = """
    CREATE FUNCTION pg_temp.restore(largest bigint) RETURNS boolean
    LANGUAGE plpgsql AS $$
    DECLARE
        changed text[];
        name text;
    BEGIN
        LOCK TABLE {tables} IN EXCLUSIVE MODE;
        IF {size} > largest THEN
            RETURN false;
        END IF;
        LOOP
            changed := ARRAY({changed});
            IF cardinality(changed) = 0 THEN
                RETURN true;
            END IF;
            FOREACH name IN ARRAY changed LOOP
                EXECUTE 'DELETE FROM ' || name;
            END LOOP;
            FOREACH name IN ARRAY changed LOOP
                IF name = ANY (ARRAY[{kept}]::text[]) THEN
                    EXECUTE 'INSERT INTO ' || name || ' SELECT * FROM '
                        || regexp_replace(name, '"', '"kept_');
                END IF;
            END LOOP;
        END LOOP;
    END $$
"""


class Kept:
    """The rows that Django's own flush has just left, and how to have them back."""

    def __init__(self, used: BaseDatabaseWrapper) -> None:
        self._connection = _own(used)
        self._tables = _tables(self._connection)
        self._kept = self._names(" UNION ALL ".join(map(_if_filled, self._tables)))
        for table in self._kept:
            self._execute(
                f"CREATE TEMPORARY TABLE {_copy(table)} AS SELECT * FROM {table}"
            )
        self._changed = " UNION ALL ".join(
            _if_changed(table) if table in self._kept else _if_filled(table)
            for table in self._tables
        )
        if used.vendor == "postgresql":
            self._execute(self._function())

    def close(self) -> None:
        """Close the connection, which ends what is temporary."""
        self._connection.close()

    def restore(self) -> bool:
        """Delete all other rows; return False if Django's flush is needed."""
        if self._connection.vendor == "postgresql":
            done = self._execute(f"SELECT pg_temp.restore({MAX_BYTES})")
            return bool(done[0][0])
        self._execute("BEGIN IMMEDIATE")
        try:
            self._restore()
            self._execute("COMMIT")
        except BaseException:
            self._execute("ROLLBACK")
            raise
        return True

    def _restore(self) -> None:
        while changed := self._names(self._changed):
            for table in changed:
                self._execute(f"DELETE FROM {table}")
            for table in changed:
                if table in self._kept:
                    self._execute(f"INSERT INTO {table} SELECT * FROM {_copy(table)}")

    def _function(self) -> str:
        """Return what does the same within PostgreSQL, in one round trip."""
        sizes = (f"pg_relation_size('{table}'::regclass)" for table in self._tables)
        return FUNCTION.format(
            tables=", ".join(self._tables),
            size=" + ".join(sizes),
            changed=self._changed,
            kept=", ".join(f"'{table}'" for table in self._kept),
        )

    def _names(self, query: str) -> list[str]:
        return [name for (name,) in self._execute(query)]

    def _execute(self, statement: str) -> list[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def _own(used: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """Return a new connection to the same database, which any thread may use.

    It is none of the pool's, because tests count on all of those.
    """
    own = used.copy()
    own.settings_dict["OPTIONS"].pop("pool", None)
    own.inc_thread_sharing()
    return own


def _tables(connection: BaseDatabaseWrapper) -> list[str]:
    names = connection.introspection.django_table_names(
        only_existing=True, include_views=False
    )
    return [connection.ops.quote_name(name) for name in names]


def _copy(table: str) -> str:
    """Return the name of the temporary table with the rows of a table to keep."""
    return table.replace('"', '"kept_', 1)


def _if_filled(table: str) -> str:
    return f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {table})"


def _if_changed(table: str) -> str:
    """Return a query for the name of a table whose rows are not those to keep."""
    now, kept = f"SELECT * FROM {table}", f"SELECT * FROM {_copy(table)}"
    return (
        f"SELECT '{table}' WHERE EXISTS ({now} EXCEPT {kept})"
        f" OR EXISTS ({kept} EXCEPT {now})"
    )


class Flush(flush.Command):
    """Replaces Django's command, and leaves the same rows that it would leave."""

    # By database: what its last flush by Django has left.
    kept: dict[str, Kept] = {}
    _parser: CommandParser | None = None

    def create_parser(self, *args: Any, **options: Any) -> CommandParser:
        """Return the same one each time; making it takes as long as a flush."""
        if not Flush._parser:
            Flush._parser = super().create_parser(*args, **options)
        return Flush._parser

    def handle(self, **options: Any) -> None:
        """Empty the database as Django does the first time, and faster from then on."""
        database: str = options["database"]
        connection = connections[database]
        resets = options.get("reset_sequences", True)
        is_emptied = options.get("inhibit_post_migrate", False)
        if not resets and not is_emptied and database in self.kept:
            ContentType.objects.clear_cache()  # as creating them would
            connection.close()  # a transaction that a test has left open holds locks
            if _restore(database):
                return
        super().handle(**options)
        if not is_emptied:
            _forget(database)
            self.kept[database] = Kept(connection)


def _restore(database: str) -> bool:
    try:
        return Flush.kept[database].restore()
    except Error as exc:
        if sqlstate(exc) in (DEADLOCK, LOCK_TIMEOUT):
            raise
        # Its connection may be lost, and its copies with it.
        _forget(database)
        return False


def _forget(database: str) -> None:
    if kept := Flush.kept.pop(database, None):
        kept.close()


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


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Leave no connection to a test database that is about to be deleted."""
    yield
    for database in list(Flush.kept):
        _forget(database)
