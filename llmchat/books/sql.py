"""Statements built once from the models, for rows that are written by the thousand.

The ORM compiles a statement at each use, which costs more than running it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from functools import cached_property, lru_cache, partial
from operator import attrgetter
from typing import Any, TypeAlias
from uuid import UUID

from django.db import connection, models

Row = Mapping[str, Any]
Adapt: TypeAlias = Callable[[Any], Any]
# How many rows a statement inserts, so that it does not have too many parameters.
_ROWS = 500
_REMEMBERED = 256


class Columns:
    """Some columns of a table: how they are read, and how values go into them."""

    def __init__(self, model: type[models.Model], names: Iterable[str]) -> None:
        self.names = tuple(names)
        self.table = model._meta.db_table
        self._fields: list[Any] = [model._meta.get_field(name) for name in self.names]

    @cached_property
    def selected(self) -> str:
        """The columns as a SELECT names them."""
        return ", ".join(_quoted(field) for field in self._fields)

    def read(self, sql: str, parameters: Sequence[Any]) -> list[list[Any]]:
        """Return the rows that a SELECT of these columns finds."""
        with _cursor() as cursor:
            cursor.execute(sql, parameters)
            rows = cursor.fetchall()
        if not rows:
            return []
        convert = self._converters
        return [
            [
                _converted(value, *converter) if converter else value
                for value, converter in zip(row, convert, strict=True)
            ]
            for row in rows
        ]

    def insert(self, rows: Sequence[Row], *, on_conflict: str = "") -> None:
        """Insert rows, each with all of the columns."""
        for at in range(0, len(rows), _ROWS):
            batch = self._prepared(rows[at : at + _ROWS])
            values = ", ".join([self._values] * len(batch))
            with _cursor() as cursor:
                cursor.execute(
                    f"{self._insert} {values}{on_conflict}",
                    [value for row in batch for value in row],
                )

    def update(self, rows: Sequence[Row]) -> None:
        """Update rows, each found by the last of the columns."""
        if not rows:
            return
        with _cursor() as cursor:
            if len(rows) == 1:
                cursor.execute(self._update, *self._prepared(rows))
            else:
                cursor.executemany(self._update, self._prepared(rows))

    def delete(self, values: Sequence[object]) -> None:
        """Delete the rows with these values in the only column."""
        (field,) = self._fields
        found = [field.get_db_prep_save(value, connection) for value in values]
        with _cursor() as cursor:
            where = f"{_quoted(field)} IN ({places(found)})"
            cursor.execute(f"DELETE FROM {self.table} WHERE {where}", found)

    def _prepared(self, rows: Sequence[Row]) -> list[list[Any]]:
        prepared = self._adapted
        return [
            [
                adapt(row[name]) if adapt is not None else row[name]
                for name, adapt in prepared
            ]
            for row in rows
        ]

    @cached_property
    def _insert(self) -> str:
        return f"INSERT INTO {self.table} ({self.selected}) VALUES"

    @cached_property
    def _values(self) -> str:
        return f"({places(self._fields)})"

    @cached_property
    def _update(self) -> str:
        *changed, key = (f"{_quoted(field)} = %s" for field in self._fields)
        return f"UPDATE {self.table} SET {', '.join(changed)} WHERE {key}"

    @cached_property
    def _adapted(self) -> list[tuple[str, Adapt | None]]:
        adapters = map(_adapter, self._fields)
        return list(zip(self.names, adapters, strict=True))

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


@contextmanager
def one_cursor() -> Iterator[None]:
    """Let the statements inside share a cursor, which costs as much as a statement."""
    with connection.cursor() as cursor:
        _shared.cursor = cursor
        try:
            yield
        finally:
            _shared.cursor = None


def _cursor() -> AbstractContextManager[Any]:
    cursor = _shared.cursor
    return connection.cursor() if cursor is None else nullcontext(cursor)


class _Shared(threading.local):
    """The cursor that the statements of a thread share."""

    cursor: Any = None


_shared = _Shared()


def _adapter(field: Any) -> Adapt | None:
    """Return a function that makes a parameter of a value of its field's own type.

    None means that the value can be used as it is. `get_db_prep_save` would check the
    type of each value.
    """
    if field.is_relation:
        return _adapter(field.target_field)
    if isinstance(field, models.CharField | models.TextField):
        return str  # the choices are strings of a type of their own
    if isinstance(field, models.BooleanField | models.AutoField):
        return None
    if isinstance(field, models.UUIDField):
        is_native = connection.features.has_native_uuid_field
        return None if is_native else attrgetter("hex")
    if isinstance(field, models.IntegerField):
        adapt = connection.ops.adapt_integerfield_value
        return partial(adapt, internal_type=field.get_internal_type())
    # The time of a batch and equal costs recur often, and take long to convert.
    if isinstance(field, models.DateTimeField):
        return _moment
    return lru_cache(_REMEMBERED)(partial(_as_saved, field))


@lru_cache(_REMEMBERED)
def _moment(value: datetime | None) -> Any:
    return connection.ops.adapt_datetimefield_value(value)


def _as_saved(field: Any, value: Any) -> Any:
    return field.get_db_prep_save(value, connection)


def places(values: Sequence[object]) -> str:
    """Return a placeholder for each value."""
    return ", ".join(["%s"] * len(values))


def idents(values: Iterable[UUID]) -> list[Any]:
    """Return UUIDs as parameters."""
    if connection.features.has_native_uuid_field:
        return list(values)
    return [value.hex for value in values]


def locking(*, wait: bool) -> str:
    """Return the last clause of a SELECT that locks rows whose keys do not change.

    Without `wait`, the SELECT fails if another transaction holds one of them. SQLite
    needs no clause, since it has only one writer.
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
