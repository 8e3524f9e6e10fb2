"""Statements made once from the models, for rows that are written by the thousand.

The ORM compiles each statement anew, which costs more than the statement itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db import connection, models

Row = Mapping[str, Any]
# How many a statement inserts, so that its parameters are not too many.
_ROWS = 500


class Columns:
    """Some columns of a table: how they are read, and how values go into them."""

    def __init__(self, model: type[models.Model], names: Iterable[str]) -> None:
        self.names = tuple(names)
        self.table = model._meta.db_table
        self._fields: list[Any] = [model._meta.get_field(name) for name in self.names]

    @cached_property
    def selected(self) -> str:
        """What a SELECT names."""
        return ", ".join(_quoted(field) for field in self._fields)

    def read(self, sql: str, parameters: Sequence[Any]) -> list[list[Any]]:
        """Return what a SELECT of these columns finds."""
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            rows = cursor.fetchall()
        converters = self._converters
        return [
            [
                _converted(value, *converter) if converter else value
                for value, converter in zip(row, converters, strict=True)
            ]
            for row in rows
        ]

    def insert(self, rows: Sequence[Row]) -> None:
        """Insert rows, each with all of the columns."""
        values = f"({places(self._fields)})"
        for at in range(0, len(rows), _ROWS):
            some = self._prepared(rows[at : at + _ROWS])
            with connection.cursor() as cursor:
                cursor.execute(
                    f"INSERT INTO {self.table} ({self.selected}) "
                    f"VALUES {', '.join([values] * len(some))}",
                    [value for row in some for value in row],
                )

    def update(self, rows: Sequence[Row]) -> None:
        """Update rows, found by the last of the columns."""
        *changed, key = (f"{_quoted(field)} = %s" for field in self._fields)
        if not rows:
            return
        sql = f"UPDATE {self.table} SET {', '.join(changed)} WHERE {key}"
        with connection.cursor() as cursor:
            if len(rows) == 1:
                cursor.execute(sql, *self._prepared(rows))
            else:
                cursor.executemany(sql, self._prepared(rows))

    def delete(self, values: Sequence[object]) -> None:
        """Delete the rows with these values in the only column."""
        (field,) = self._fields
        found = [field.get_db_prep_save(value, connection) for value in values]
        with connection.cursor() as cursor:
            where = f"{_quoted(field)} IN ({places(found)})"
            cursor.execute(f"DELETE FROM {self.table} WHERE {where}", found)

    def _prepared(self, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        return [
            tuple(
                field.get_db_prep_save(row[name], connection)
                for name, field in zip(self.names, self._fields, strict=True)
            )
            for row in rows
        ]

    @cached_property
    def _converters(self) -> list[tuple[list[Any], Any] | None]:
        columns = [field.get_col(self.table) for field in self._fields]
        found = [
            (
                connection.ops.get_db_converters(column)
                + column.get_db_converters(connection),
                column,
            )
            for column in columns
        ]
        return [pair if pair[0] else None for pair in found]


def places(values: Sequence[object]) -> str:
    """Return a placeholder for each of them."""
    return ", ".join(["%s"] * len(values))


def idents(values: Iterable[UUID]) -> list[Any]:
    """Return UUIDs as parameters."""
    if connection.features.has_native_uuid_field:
        return list(values)
    return [value.hex for value in values]


def locking(*, wait: bool) -> str:
    """Return what ends a SELECT that locks its rows, whose keys do not change.

    `wait` False: it fails where another holds one of them. SQLite has one writer.
    """
    if not connection.features.has_select_for_no_key_update:
        return ""
    return " FOR NO KEY UPDATE" if wait else " FOR NO KEY UPDATE NOWAIT"


def _quoted(field: Any) -> str:
    return connection.ops.quote_name(field.column)


def _converted(value: Any, converters: list[Any], column: Any) -> Any:
    for convert in converters:
        value = convert(value, column, connection)
    return value
