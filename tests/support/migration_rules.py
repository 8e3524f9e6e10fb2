"""What a migration may not do to the tables that are large and always written to.

It runs beside the server. A scan of all messages under the lock of a change of the
table would keep every turn waiting for as long as it takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib.postgres import operations as postgres
from django.db import migrations, models
from django.db.migrations.operations.base import Operation
from django.db.migrations.operations.fields import FieldOperation
from django.db.migrations.operations.models import IndexOperation, ModelOperation
from django.db.migrations.state import ProjectState

from llmchat.migrations._locks import lock

LARGE = {"message", "conversation"}
TABLES = {f"llmchat_{name}" for name in LARGE}
POSITIVE = (
    models.PositiveIntegerField,
    models.PositiveBigIntegerField,
    models.PositiveSmallIntegerField,
)
# They wait for nobody's writes, and cannot be part of a transaction with others.
ALONE = (postgres.AddIndexConcurrently, postgres.RemoveIndexConcurrently)
NO_CHANGE = (
    migrations.CreateModel,
    migrations.AlterModelOptions,
    migrations.AlterModelManagers,
)
BY_HAND = (migrations.RunPython, migrations.RunSQL)
ALTER = re.compile(r"\bALTER TABLE\b", re.IGNORECASE)
INDEX = re.compile(r"\bINDEX\b(?!\s+CONCURRENTLY)", re.IGNORECASE)


def offences(
    steps: Iterable[Operation], before: ProjectState, *, atomic: bool = True
) -> list[str]:
    """Return what a migration does that would stop the server's writes for long.

    `before` is what Django knows of the tables when it begins.
    """
    steps = [step for step in _flat(steps) if not _is_of_words(step, before)]
    found = [text for step in steps for text in _scans(step)]
    if any(isinstance(step, ALONE) for step in steps) and len(steps) > 1:
        found.append("an index that is built concurrently is not alone")
    changed = set().union(*map(_changed_by, steps))
    if not changed:
        return found
    by_hand = [step for step in steps if isinstance(step, BY_HAND)]
    if not all(_locks(step) or _changed_by(step) for step in by_hand):
        found.append("rows are changed under the lock of a change of the table")
    if not atomic:
        found.append("the lock ends before the table is changed: atomic = False")
    missing = sorted(changed - _locked_by(steps[0]))
    return found + [f"{table} is not locked by _locks.lock" for table in missing]


def _flat(steps: Iterable[Operation]) -> Iterator[Operation]:
    for step in steps:
        if isinstance(step, migrations.SeparateDatabaseAndState):
            yield from _flat(step.database_operations)
        else:
            yield step


def _is_of_words(step: Operation, before: ProjectState) -> bool:
    """Return whether a field changes in nothing that is in the database."""
    if not isinstance(step, migrations.AlterField):
        return False
    model = before.models.get(("llmchat", step.model_name_lower))
    old = model and model.fields.get(step.name)
    return old is not None and _stored_form(old) == _stored_form(step.field)


def _stored_form(field: Any) -> tuple[Any, ...]:
    _, path, args, kwargs = field.deconstruct()
    stored = {k: v for k, v in kwargs.items() if k not in field.non_db_attrs}
    return path, args, stored


def _changed_by(step: Operation) -> set[str]:
    """Return the large tables that an operation changes while nobody may write."""
    if isinstance(step, BY_HAND):
        texts = [text for text in _texts(step) if ALTER.search(text)]
        return {table for table in TABLES if any(table in text for text in texts)}
    is_quick = isinstance(step, ALONE) or not _is_change(step)
    return set() if is_quick else {_table(step)}


def _is_change(step: Operation) -> bool:
    kinds = (FieldOperation, ModelOperation, IndexOperation)
    is_large = isinstance(step, kinds) and _table(step) in TABLES
    return is_large and not isinstance(step, NO_CHANGE)


def _table(step: Any) -> str:
    name = step.name if isinstance(step, ModelOperation) else step.model_name
    return f"llmchat_{name.lower()}"


def _scans(step: Operation) -> Iterator[str]:
    """Return what PostgreSQL reads all rows for, while nobody may write."""
    if isinstance(step, BY_HAND):
        texts = [text for text in _texts(step) if INDEX.search(text)]
        if any(table in text for table in TABLES for text in texts):
            yield "an index is built while nobody may write"
        return
    if not _is_change(step) or isinstance(step, ALONE):
        return
    field = getattr(step, "field", None)
    if isinstance(field, POSITIVE):
        yield f"{field.name or step.name} has a check that all rows are read for"
    if isinstance(field, models.Field) and _is_indexed(field):
        yield f"{field.name or step.name} comes with an index or a constraint"
    if isinstance(step, migrations.AddIndex):
        yield "an index is built while nobody may write"
    if isinstance(step, migrations.AddConstraint):
        yield "a constraint is checked while nobody may write"


def _is_indexed(field: models.Field[Any, Any]) -> bool:
    refers = field.remote_field is not None and getattr(field, "db_constraint", False)
    return bool(field.db_index or field.unique or refers)


def _locks(step: Operation) -> bool:
    if not isinstance(step, migrations.RunPython):
        return False
    code: Any = step.code
    used = (code.__globals__.get(name) for name in code.__code__.co_names)
    return any(value is lock for value in used)


def _locked_by(step: Operation) -> set[str]:
    return TABLES.intersection(_texts(step)) if _locks(step) else set()


def _texts(step: Operation) -> Iterator[str]:
    """Return the texts that an operation by hand was given, or has in its code."""
    if isinstance(step, migrations.RunSQL):
        yield from _strings(step.sql)
    elif isinstance(step, migrations.RunPython):
        code: Any = step.code
        yield from _strings(code.__code__.co_consts)
        yield from _strings([cell.cell_contents for cell in code.__closure__ or ()])
        yield from _strings([code.__globals__.get(n) for n in code.__code__.co_names])


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _strings(item)
