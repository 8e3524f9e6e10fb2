"""Draw the tables, their keys and their relations, in Mermaid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from django.apps import apps
from django.db.models import Field, ForeignKey, ManyToManyField, Model, OneToOneField

AnyField: TypeAlias = "Field[Any, Any]"

# The tables of the project, and those of other packages that it works with.
_APPS = ("accounts", "llmchat", "token_blacklist")
_OTHERS = ("auth.Group",)


def draw() -> str:
    """Return the diagram of the tables that the project works with."""
    models = find_models()
    lines = ["erDiagram"]
    for model in models:
        lines += _relations(model, models)
    for model in models:
        lines += [
            f"    {model._meta.db_table} {{",
            *(f"        {line}" for line in _keys(model)),
            "    }",
        ]
    return "\n".join(lines)


def find_models() -> list[type[Model]]:
    """Return the models that have a table of their own, sorted by the table's name."""
    models = [m for label in _APPS for m in apps.get_app_config(label).get_models()]
    models += [apps.get_model(label) for label in _OTHERS]
    own = [m for m in models if not m._meta.proxy]
    return sorted(own, key=lambda model: model._meta.db_table)


def _relations(model: type[Model], models: list[type[Model]]) -> Iterator[str]:
    table = model._meta.db_table
    for field in [*model._meta.fields, *model._meta.many_to_many]:
        target = field.related_model
        if isinstance(target, type) and target in models:
            other = target._meta.db_table
            yield f"    {table} {_cardinality(field)} {other} : {field.name}"


def _cardinality(field: object) -> str:
    if isinstance(field, ManyToManyField):
        return "}o--o{"
    left = "|o" if isinstance(field, OneToOneField) else "}o"
    return f"{left}--o|" if isinstance(field, Field) and field.null else f"{left}--||"


def _keys(model: type[Model]) -> Iterator[str]:
    """Yield the columns that identify a row or refer to another row."""
    for field in model._meta.fields:
        marks, unique = list(_marks(field)), "; ".join(_unique_together(field))
        if marks or unique:
            words = [_type_of(field), field.column, ", ".join(marks)]
            words += [f'"unique: {unique}"'] if unique else []
            yield " ".join(word for word in words if word)


def _unique_together(field: AnyField) -> Iterator[str]:
    """Yield the fields of each unique constraint on this field and others together."""
    for constraint in field.model._meta.total_unique_constraints:
        if field.name in constraint.fields and len(constraint.fields) > 1:
            yield " + ".join(constraint.fields)


def _marks(field: AnyField) -> Iterator[str]:
    if field.primary_key:
        yield "PK"
    if isinstance(field, ForeignKey):
        yield "FK"
    if field.unique and not field.primary_key:
        yield "UK"


def _type_of(field: AnyField) -> str:
    while isinstance(field, ForeignKey):
        field = field.target_field
    kind = field.get_internal_type().removesuffix("Field")
    return kind.replace("Auto", "Integer").lower()
