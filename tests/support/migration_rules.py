"""What a migration must not do to the tables that are large and always written to.

A migration runs beside the server. A scan of all messages under the lock that a change
of the table takes would block every turn for as long as the scan lasts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
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
# These do not block writes, and cannot share a transaction with other operations.
ALONE = (postgres.AddIndexConcurrently, postgres.RemoveIndexConcurrently)
NO_CHANGE = (
    migrations.CreateModel,
    migrations.AlterModelOptions,
    migrations.AlterModelManagers,
)
TOGETHER = (migrations.AlterUniqueTogether, migrations.AlterIndexTogether)
BY_HAND = (migrations.RunPython, migrations.RunSQL)
ALTER = re.compile(r"\bALTER TABLE\b", re.IGNORECASE)
INDEX = re.compile(r"\bINDEX\b(?!\s+CONCURRENTLY)", re.IGNORECASE)
READS_ALL = re.compile(
    r"""\bADD\s+(CONSTRAINT|CHECK|UNIQUE|PRIMARY|FOREIGN|EXCLUDE)\b
    | \bSET\s+NOT\s+NULL\b
    | \bALTER\s+(COLUMN\s+)?\S+\s+(SET\s+DATA\s+)?TYPE\b
    | \bREINDEX\b(?!.*\bCONCURRENTLY\b)
    | \b(CLUSTER|VACUUM)\b""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def offences(
    steps: Iterable[Operation], before: ProjectState, *, atomic: bool = True
) -> list[str]:
    """Return what a migration does that would block the server's writes for long.

    `before` is Django's state of the models before the migration.
    """
    steps = [step for step in _flat(steps) if not _is_of_words(step, before)]
    found = [text for step in steps for text in _scans(step, before)]
    if any(isinstance(step, ALONE) for step in steps) and len(steps) > 1:
        found.append("an index that is built concurrently shares its migration")
    changed = set().union(*map(_changed_by, steps))
    if not changed:
        return found
    by_hand = [step for step in steps if isinstance(step, BY_HAND)]
    if not all(_locks(step) or _changed_by(step) for step in by_hand):
        found.append("rows are changed while the table is locked")
    if not atomic:
        found.append("the lock is released before the table is changed: atomic = False")
    missing = sorted(changed - _locked_by(steps[0]))
    return found + [f"{table} is not locked by _locks.lock" for table in missing]


def _flat(steps: Iterable[Operation]) -> Iterator[Operation]:
    for step in steps:
        if isinstance(step, migrations.SeparateDatabaseAndState):
            yield from _flat(step.database_operations)
        else:
            yield step


def _is_of_words(step: Operation, before: ProjectState) -> bool:
    """Return whether a field changes only in what the database does not store."""
    if not isinstance(step, migrations.AlterField):
        return False
    old = _old(step, before)
    return old is not None and _stored_form(old) == _stored_form(step.field)


def _is_longer_text(step: migrations.AlterField, before: ProjectState) -> bool:
    """Return whether a field just allows more characters, which needs no scan."""
    old, new = _old(step, before), step.field
    if not isinstance(old, models.CharField) or not isinstance(new, models.CharField):
        return False
    longer = new.clone()
    longer.max_length = old.max_length
    is_alone = _stored_form(old) == _stored_form(longer)
    lengths = (old.max_length or float("inf"), new.max_length or float("inf"))
    return is_alone and lengths == tuple(sorted(lengths))


def _old(step: migrations.AlterField, before: ProjectState) -> Any:
    model = before.models.get(("llmchat", step.model_name_lower))
    return model and model.fields.get(step.name)


def _stored_form(field: Any) -> tuple[Any, ...]:
    _, path, args, kwargs = field.deconstruct()
    stored = {k: v for k, v in kwargs.items() if k not in field.non_db_attrs}
    return path, args, stored


def _changed_by(step: Operation) -> set[str]:
    """Return the large tables that an operation changes while writes are blocked."""
    if isinstance(step, BY_HAND):
        texts = [text for text in _texts(step) if ALTER.search(text)]
        return {table for table in TABLES if any(table in text for text in texts)}
    # PostgreSQL also locks the table that a foreign key refers to.
    changed = {table for field in _new_fields(step) for table in _referred(field)}
    is_quick = isinstance(step, ALONE) or not _is_change(step)
    return changed if is_quick else changed | {_table(step)}


def _new_fields(step: Operation) -> list[Any]:
    if isinstance(step, migrations.CreateModel):
        return [field for _, field in step.fields]
    if isinstance(step, (migrations.AddField, migrations.AlterField)):
        return [step.field]
    return []


def _referred(field: Any) -> set[str]:
    """Return the large tables that a field, or its many-to-many table, refers to."""
    many = isinstance(field, models.ManyToManyField)
    if not getattr(field.remote_field if many else field, "db_constraint", False):
        return set()
    to: Any = field.remote_field.model
    label = to if isinstance(to, str) else to._meta.label
    return TABLES & {label.lower().replace(".", "_")}


def _is_change(step: Operation) -> bool:
    kinds = (FieldOperation, ModelOperation, IndexOperation)
    is_large = isinstance(step, kinds) and _table(step) in TABLES
    return is_large and not isinstance(step, NO_CHANGE)


def _table(step: Any) -> str:
    name = step.name if isinstance(step, ModelOperation) else step.model_name
    return f"llmchat_{name.lower()}"


def _scans(step: Operation, before: ProjectState) -> Iterator[str]:
    """Yield why PostgreSQL reads all rows while writes are blocked."""
    if isinstance(step, BY_HAND):
        yield from _scans_by_hand(step)
    elif not _is_change(step) or isinstance(step, ALONE):
        return
    elif isinstance(step, FieldOperation):
        yield from _scans_of_field(step, before)
    elif isinstance(step, migrations.AddIndex):
        yield "an index is built while writes are blocked"
    elif isinstance(step, migrations.AddConstraint):
        yield "a constraint is checked while writes are blocked"
    elif isinstance(step, TOGETHER) and step.option_value:
        yield "a constraint over several fields is checked while writes are blocked"


def _scans_by_hand(step: Operation) -> Iterator[str]:
    texts = [text for text in _texts(step) if any(table in text for table in TABLES)]
    if any(INDEX.search(text) for text in texts):
        yield "an index is built while writes are blocked"
    if any(READS_ALL.search(text) for text in texts):
        yield "SQL reads or writes all rows while writes are blocked"


def _scans_of_field(step: FieldOperation, before: ProjectState) -> Iterator[str]:
    field: Any = getattr(step, "field", None)
    if field is None:
        return
    name = field.name or step.name
    if isinstance(field, POSITIVE):
        yield f"{name} has a check, for which all rows are read"
    if _is_indexed(field):
        yield f"{name} comes with an index or a constraint"
    if isinstance(step, migrations.AddField) and _is_computed(field):
        yield f"{name} is computed for all rows"
    if isinstance(step, migrations.AlterField) and not _is_longer_text(step, before):
        yield f"{name} is checked or rewritten in all rows"


def _is_computed(field: Any) -> bool:
    """Return whether rows get more than a constant, which is stored only once."""
    if isinstance(field, models.GeneratedField):
        return bool(field.deconstruct()[3]["db_persist"])
    default = field.db_default
    is_expression = hasattr(default, "resolve_expression")
    return is_expression and not isinstance(default, models.Value)


def _is_indexed(field: models.Field[Any, Any]) -> bool:
    refers = field.remote_field is not None and getattr(field, "db_constraint", False)
    return bool(field.db_index or field.unique or refers)


def _locks(step: Operation) -> bool:
    if not isinstance(step, migrations.RunPython):
        return False
    code = _function_of(step)
    used = (code.__globals__.get(name) for name in code.__code__.co_names)
    return any(value is lock for value in used)


def _locked_by(step: Operation) -> set[str]:
    return TABLES.intersection(_texts(step)) if _locks(step) else set()


def _function_of(step: migrations.RunPython) -> Any:
    """Return the function that is run, taken out of its `partial` if it has one."""
    code: Any = step.code
    return code.func if isinstance(code, partial) else code


def _texts(step: Operation) -> Iterator[str]:
    """Yield the strings that a hand-written operation was given or has in its code."""
    if isinstance(step, migrations.RunSQL):
        yield from _strings(step.sql)
    elif isinstance(step, migrations.RunPython):
        code, given = _function_of(step), step.code
        if isinstance(given, partial):
            yield from _strings([*given.args, *given.keywords.values()])
        yield from _strings(code.__code__.co_consts)
        yield from _strings([cell.cell_contents for cell in code.__closure__ or ()])
        yield from _strings([code.__globals__.get(n) for n in code.__code__.co_names])


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _strings(item)
