"""New migrations do not block writes of messages; the rules detect what would."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import pytest
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.models.functions import Lower, Random

from llmchat.migrations._indexes import AddIndexConcurrently
from llmchat.migrations._locks import lock
from tests.support.live import ROOT
from tests.support.migration_rules import offences

FIRST = "0040"  # earlier ones are exempt


@cache
def found() -> dict[str, list[str]]:
    """Return the offences of each migration, by its name."""
    loader = MigrationLoader(None, ignore_no_migrations=True)
    return {
        name: offences(
            migration.operations,
            loader.project_state((app, name), at_end=False),
            atomic=migration.atomic,
        )
        for (app, name), migration in loader.disk_migrations.items()
        if app == "llmchat"
    }


def test_no_new_migration_keeps_everybody_from_writing() -> None:
    new = {name: told for name, told in found().items() if name >= FIRST}
    assert {name: told for name, told in new.items() if told} == {}


# --- Made up ---------------------------------------------------------------------


def _lock_messages(apps: Any, schema_editor: Any) -> None:
    lock(schema_editor, llmchat_message="ACCESS EXCLUSIVE")


def _fill(apps: Any, schema_editor: Any) -> None:
    apps.get_model("llmchat", "Message").objects.update(extra="")


def _index_by_hand(statements: Iterable[str]) -> Callable[[Any, Any], None]:
    def run(apps: Any, schema_editor: Any) -> None:
        for statement in statements:
            schema_editor.execute(statement)

    return run


def _lock_table(apps: Any, schema_editor: Any, table: str) -> None:
    lock(schema_editor, **{table: "ACCESS EXCLUSIVE"})


def _execute(statement: str, apps: Any, schema_editor: Any) -> None:
    schema_editor.execute(statement)


LOCK = migrations.RunPython(_lock_messages)
FILL = migrations.RunPython(_fill)
TEXT = migrations.AddField("message", "note", models.TextField(null=True))
INDEX_OF = models.Index(fields=["note"], name="message_note")
ADD = "ALTER TABLE llmchat_message ADD COLUMN note text"
GIN = ("CREATE INDEX words ON llmchat_message USING gin (content)",)


def add(field: models.Field[Any, Any], model: str = "Message") -> Operation:
    return migrations.AddField(model, "note", field)


def alter(name: str, field: models.Field[Any, Any]) -> Operation:
    return migrations.AlterField("message", name, field)


def sql(statement: str) -> Operation:
    return migrations.RunSQL(f"ALTER TABLE llmchat_message {statement}")


def table_of(field: models.Field[Any, Any]) -> Operation:
    return migrations.CreateModel("Note", [("of", field)])


def model_of(length: int, **more: Any) -> models.Field[Any, Any]:
    return models.CharField(max_length=length, blank=True, **more)


TO_MESSAGE = models.ForeignKey("llmchat.Message", models.CASCADE)


def offences_of(steps: list[Operation]) -> list[str]:
    return offences(steps, MigrationLoader(None).project_state())


REFUSED: dict[str, tuple[str, list[Operation]]] = {
    "a positive number": (
        "a check, for which all rows are read",
        [LOCK, add(models.PositiveIntegerField(null=True))],
    ),
    "a large one": (
        "a check, for which all rows are read",
        [LOCK, add(models.PositiveBigIntegerField(default=0, db_default=0))],
    ),
    "a field that becomes a positive number": (
        "a check, for which all rows are read",
        [LOCK, alter("key_id", models.PositiveBigIntegerField(null=True))],
    ),
    "an index": (
        "an index is built",
        [LOCK, migrations.AddIndex("message", INDEX_OF)],
    ),
    "an index by hand": (
        "an index is built",
        [migrations.RunPython(_index_by_hand(GIN))],
    ),
    "an index by SQL": ("an index is built", [migrations.RunSQL(GIN[0])]),
    "a field and its index": (
        "shares its migration",
        [LOCK, TEXT, AddIndexConcurrently("message", INDEX_OF)],
    ),
    "a field with an index": (
        "comes with an index",
        [LOCK, add(models.TextField(null=True, db_index=True))],
    ),
    "a reference": (
        "comes with an index",
        [LOCK, add(models.ForeignKey("llmchat.Price", models.CASCADE, null=True))],
    ),
    "a constraint": (
        "a constraint is checked",
        [
            LOCK,
            migrations.AddConstraint(
                "message", models.UniqueConstraint(fields=["note"], name="note")
            ),
        ],
    ),
    "a field that is filled": ("rows are changed", [LOCK, TEXT, FILL]),
    "a field that is filled by SQL": (
        "rows are changed",
        [LOCK, TEXT, migrations.RunSQL("UPDATE llmchat_message SET note = ''")],
    ),
    "a field without a lock": ("llmchat_message is not locked", [TEXT]),
    "a field of what is not locked": (
        "llmchat_conversation is not locked",
        [LOCK, add(models.TextField(null=True), "Conversation")],
    ),
    "a field by SQL": ("llmchat_message is not locked", [migrations.RunSQL(ADD)]),
    "a lock that comes late": ("is not locked", [TEXT, LOCK]),
    "what only the database is told": (
        "is not locked",
        [migrations.SeparateDatabaseAndState(database_operations=[TEXT])],
    ),
    "a field that goes": (
        "is not locked",
        [migrations.RemoveField("message", "extra")],
    ),
    "a field that may be null no more": (
        "key_id is checked or rewritten",
        [LOCK, alter("key_id", models.BigIntegerField())],
    ),
    "a field that may be null": (
        "extra is checked or rewritten",
        [LOCK, alter("extra", models.TextField(null=True, db_default=""))],
    ),
    "a field of another type": (
        "attempts is checked or rewritten",
        [LOCK, alter("attempts", models.BigIntegerField(default=0))],
    ),
    "a text that becomes shorter": (
        "model is checked or rewritten",
        [LOCK, alter("model", model_of(64))],
    ),
    "a longer text that has a default as well": (
        "model is checked or rewritten",
        [LOCK, alter("model", model_of(256, db_default="x"))],
    ),
    "a field that nobody knows": (
        "note is checked or rewritten",
        [LOCK, TEXT, alter("note", models.TextField(null=True))],
    ),
    "a field that is computed": (
        "note is computed for all rows",
        [
            LOCK,
            add(
                models.GeneratedField(
                    expression=Lower("model"),
                    output_field=models.TextField(),
                    db_persist=True,
                )
            ),
        ],
    ),
    "a default that is computed": (
        "note is computed for all rows",
        [LOCK, add(models.FloatField(db_default=Random()))],
    ),
    "fields that are unique together": (
        "a constraint over several fields",
        [LOCK, migrations.AlterUniqueTogether("message", {("model", "key_id")})],
    ),
    "a constraint by SQL": (
        "SQL reads",
        [LOCK, sql("ADD CONSTRAINT some CHECK (key_id > 0)")],
    ),
    "a check by SQL": ("SQL reads", [LOCK, sql("ADD CHECK (key_id > 0)")]),
    "a column that SQL lets be null no more": (
        "SQL reads",
        [LOCK, sql("ALTER COLUMN key_id SET NOT NULL")],
    ),
    "a column of another type by SQL": (
        "SQL reads",
        [LOCK, sql("alter key_id type integer")],
    ),
    "indexes that are built anew": (
        "SQL reads",
        [migrations.RunSQL("REINDEX TABLE llmchat_message")],
    ),
    "a table that is sorted": (
        "SQL reads",
        [migrations.RunSQL("CLUSTER llmchat_message USING some")],
    ),
    "SQL that a partial function is given": (
        "SQL reads",
        [
            LOCK,
            migrations.RunPython(
                partial(_execute, "ALTER TABLE llmchat_message ADD CHECK (true)")
            ),
        ],
    ),
    "a new table that refers to messages": (
        "llmchat_message is not locked",
        [table_of(TO_MESSAGE)],
    ),
    "a new table with many messages": (
        "llmchat_message is not locked",
        [table_of(models.ManyToManyField("llmchat.Message"))],
    ),
    "another table that comes to refer to messages": (
        "llmchat_message is not locked",
        [add(TO_MESSAGE, "Price")],
    ),
}
ALLOWED: dict[str, list[Operation]] = {
    "a field": [LOCK, TEXT],
    "a field by SQL": [LOCK, migrations.RunSQL(ADD)],
    "a number": [LOCK, add(models.IntegerField(null=True))],
    "an index that is built concurrently": [AddIndexConcurrently("message", INDEX_OF)],
    "rows that are filled": [FILL],
    "a longer text": [LOCK, alter("model", model_of(256))],
    "a default that is a constant": [
        LOCK,
        add(models.TextField(db_default=models.Value(""))),
    ],
    "a lock by a partial function": [
        migrations.RunPython(partial(_lock_table, table="llmchat_message")),
        TEXT,
    ],
    "a new table that refers to messages": [LOCK, table_of(TO_MESSAGE)],
    "a new table that names messages": [
        table_of(
            models.ForeignKey("llmchat.Message", models.CASCADE, db_constraint=False)
        )
    ],
    "indexes that are built anew beside the writes": [
        migrations.RunSQL("REINDEX TABLE CONCURRENTLY llmchat_message")
    ],
    "another help text": [
        alter("attempts", models.PositiveSmallIntegerField("tries", default=0))
    ],
    "another table": [
        migrations.AddField("price", "note", models.PositiveIntegerField(null=True)),
        migrations.AddIndex("price", INDEX_OF),
        migrations.RunSQL("UPDATE llmchat_price SET note = 1"),
    ],
    "what only Django is told": [
        migrations.SeparateDatabaseAndState(state_operations=[TEXT]),
        migrations.AlterModelOptions("message", {"verbose_name": "answer"}),
    ],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_reads_all_rows_is_refused(name: str) -> None:
    said, steps = REFUSED[name]
    assert said in " ".join(offences_of(steps))


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_done_at_once_is_allowed(name: str) -> None:
    assert offences_of(ALLOWED[name]) == []


def test_a_lock_that_ends_with_its_own_transaction_is_none() -> None:
    state = MigrationLoader(None).project_state()
    told = offences([LOCK, TEXT], state, atomic=False)
    assert told == ["the lock is released before the table is changed: atomic = False"]


def test_the_guide_names_those_that_need_a_quiet_hour() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.split("**Upgrades for a quiet hour.**")[1].split("\n\n")[0]

    slow = {name[:4] for name, told in found().items() if _reads_all(told)}
    assert set(re.findall(r"`(\d{4})`", section)) == slow - {"0001"}  # it makes them


def _reads_all(told: list[str]) -> bool:
    return any(not text.endswith("is not locked by _locks.lock") for text in told)


@pytest.mark.parametrize("name", ["0038_day_totals", "0039_emptied_totals"])
def test_those_that_make_nobody_wait_would_be_allowed(name: str) -> None:
    assert found()[name] == []
