"""An index that is built while the server is writing, on both databases."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from django.db import NotSupportedError, connection, models
from django.db.migrations.loader import MigrationLoader

pytestmark = pytest.mark.django_db(transaction=True)
indexes: Any = import_module("llmchat.migrations._indexes")
INDEX = models.Index(fields=["title"], name="made_up")


def has_index() -> bool:
    with connection.cursor() as cursor:
        table = "llmchat_conversation"
        return "made_up" in connection.introspection.get_constraints(cursor, table)


def run(name: str, *, atomic: bool = False) -> None:
    operation = indexes.AddIndexConcurrently("conversation", INDEX)
    before = MigrationLoader(connection).project_state()
    after = before.clone()
    operation.state_forwards("llmchat", after)
    states = (before, after) if name == "database_forwards" else (after, before)
    with connection.schema_editor(atomic=atomic) as editor:
        getattr(operation, name)("llmchat", editor, *states)


def test_it_is_built_and_removed_outside_of_a_transaction() -> None:
    run("database_forwards")
    assert has_index()
    run("database_backwards")
    assert not has_index()


def test_postgresql_builds_none_within_a_transaction() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no such index")
    with pytest.raises(NotSupportedError):
        run("database_forwards", atomic=True)
    assert not has_index()
