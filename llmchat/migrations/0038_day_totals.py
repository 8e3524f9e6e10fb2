"""Totals of days that are right at every moment, on PostgreSQL.

Its triggers note what each change of an answer changes in the sums of its day: by
whomever, and in the same transaction. They only insert, so no answer waits for
another's. The days are added up in the background, not here.
"""

from importlib import import_module

from django.db import migrations, models
from django.db.models import Q

from llmchat.migrations._locks import lock

_FIGURES = "answers, unpriced, to_price, input_tokens, output_tokens, cost"
_PLACE = "user_id, provider, model, state, finish_reason"


def _day(row):
    return f"({row}.created_at AT TIME ZONE 'UTC')::date"


def _counted(row):
    return (
        f"({row}.role = 'assistant' AND {row}.provider <> ''"
        f" AND {row}.state <> 'streaming')"
    )


def _all_of(row):
    names = (
        *("role", "created_at", *_PLACE.split(", ")),
        *("input_tokens", "output_tokens", "cost"),
    )
    return ", ".join(f"{row}.{name}" for name in names)


def _place(row):
    return ", ".join(f"{row}.{name}" for name in _PLACE.split(", "))


def _unpriced(row):
    return f"(CASE WHEN {row}.cost IS NULL THEN 1 ELSE 0 END)"


def _to_price(row):
    return (
        f"(CASE WHEN {row}.cost IS NULL"
        f" AND ({row}.input_tokens > 0 OR {row}.output_tokens > 0) THEN 1 ELSE 0 END)"
    )


def _note(row, sign):
    return f"""
        INSERT INTO llmchat_daychange (day, {_PLACE}, {_FIGURES})
        VALUES (
            {_day(row)}, {_place(row)}, {sign}1,
            {sign}{_unpriced(row)}, {sign}{_to_price(row)},
            {sign}coalesce({row}.input_tokens, 0),
            {sign}coalesce({row}.output_tokens, 0), {sign}coalesce({row}.cost, 0)
        );"""


CREATE = (
    f"""
    CREATE FUNCTION llmchat_note_answer() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            IF {_counted("OLD")} THEN {_note("OLD", "-")}
            END IF;
        END IF;
        IF {_counted("NEW")} THEN {_note("NEW", "+")}
        END IF;
        RETURN NULL;
    END $$
    """,
    f"""
    CREATE FUNCTION llmchat_note_deleted_answers() RETURNS trigger LANGUAGE plpgsql
    AS $$
    BEGIN
        INSERT INTO llmchat_daychange (day, {_PLACE}, {_FIGURES})
            SELECT {_day("gone")}, {_PLACE}, -count(*),
                -sum({_unpriced("gone")}), -sum({_to_price("gone")}),
                -coalesce(sum(input_tokens), 0), -coalesce(sum(output_tokens), 0),
                -coalesce(sum(cost), 0)
            FROM gone WHERE {_counted("gone")} GROUP BY {_day("gone")}, {_PLACE};
        RETURN NULL;
    END $$
    """,
    f"""
    CREATE OR REPLACE TRIGGER llmchat_message_added AFTER INSERT ON llmchat_message
        FOR EACH ROW WHEN {_counted("NEW")} EXECUTE FUNCTION llmchat_note_answer()
    """,
    f"""
    CREATE OR REPLACE TRIGGER llmchat_message_changed AFTER UPDATE ON llmchat_message
        FOR EACH ROW WHEN (
            ({_counted("OLD")} OR {_counted("NEW")})
            AND ({_all_of("OLD")}) IS DISTINCT FROM ({_all_of("NEW")})
        )
        EXECUTE FUNCTION llmchat_note_answer()
    """,
    """
    CREATE OR REPLACE TRIGGER llmchat_message_deleted AFTER DELETE ON llmchat_message
        REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION llmchat_note_deleted_answers()
    """,
)
DROP = (
    "DROP FUNCTION llmchat_note_deleted_answers",
    "DROP FUNCTION llmchat_note_answer",
)


def _run(statements):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            for statement in statements:
                schema_editor.execute(statement)

    return run


def _lock(apps, schema_editor):
    """Lock everything now, in the order in which writers do."""
    if schema_editor.connection.vendor == "postgresql":
        lock(
            schema_editor,
            llmchat_message="SHARE ROW EXCLUSIVE",
            llmchat_daychange="ACCESS EXCLUSIVE",
            llmchat_daytotal="ACCESS EXCLUSIVE",
        )


def _old(name):
    return getattr(import_module("llmchat.migrations.0033_error_detail"), name)


# To replace a trigger waits for writers; to drop one would wait for readers as well.
_OLD_CREATE = [
    statement.replace("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER")
    for statement in _old("CREATE")
]
_OLD_DROP = [
    statement for statement in _old("DROP") if statement.startswith("DROP FUNCTION")
]


def _figures():
    return [
        ("day", models.DateField()),
        ("provider", models.CharField(default="", max_length=64)),
        ("model", models.CharField(default="", max_length=128)),
        ("state", models.CharField(default="", max_length=16)),
        ("finish_reason", models.CharField(default="", max_length=32)),
        ("answers", models.BigIntegerField()),
        ("unpriced", models.BigIntegerField()),
        ("to_price", models.BigIntegerField()),
        ("input_tokens", models.BigIntegerField()),
        ("output_tokens", models.BigIntegerField()),
        ("cost", models.DecimalField(decimal_places=10, max_digits=20)),
    ]


def _id():
    return ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))


class Migration(migrations.Migration):

    dependencies = [
        ("llmchat", "0037_what_was_used"),
    ]

    operations = [
        migrations.RunPython(_lock, _run([*_OLD_CREATE, *DROP])),
        # What is in them is added up anew, which is quicker than to change it.
        migrations.DeleteModel("DayChange"),
        migrations.DeleteModel("DayTotal"),
        migrations.CreateModel(
            name="DayChange",
            fields=[_id(), *_figures(), ("user_id", models.BigIntegerField())],
        ),
        migrations.CreateModel(
            name="DayTotal",
            fields=[
                _id(),
                *_figures(),
                ("kind", models.CharField(choices=[("day", "Day"), ("model", "Model"), ("user", "User"), ("span", "Span")], max_length=8)),
                ("user_id", models.BigIntegerField(null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(condition=Q(("kind", "day")), fields=("day",), name="day_total_known"),
                    models.UniqueConstraint(condition=Q(("kind", "model")), fields=("day", "provider", "model", "state", "finish_reason"), name="day_total_model"),
                    models.UniqueConstraint(condition=Q(("kind", "user")), fields=("day", "user_id"), name="day_total_user"),
                    models.UniqueConstraint(condition=Q(("kind", "span")), fields=("day", "user_id"), name="day_total_span"),
                ],
            },
        ),
        migrations.RunPython(_run([*CREATE, *_OLD_DROP]), _lock),
    ]
