"""Totals of days that are right too when the table of messages is emptied at once.

And a word for the code of 0033 to 0037, which may still run beside a migration and adds
days up itself, in rows that lack a column: to it the totals are locked, so that it reads
the answers instead.
"""

from django.db import migrations

from llmchat.migrations._locks import lock

CREATE = (
    """
    CREATE OR REPLACE FUNCTION llmchat_forget_totals() RETURNS trigger LANGUAGE plpgsql
    AS $$
    BEGIN
        DELETE FROM llmchat_daychange;
        DELETE FROM llmchat_daytotal;
        RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION llmchat_refuse_total() RETURNS trigger LANGUAGE plpgsql
    AS $$
    BEGIN
        RAISE EXCEPTION 'the totals of days are kept by newer code'
            USING ERRCODE = 'lock_not_available';
    END $$
    """,
    """
    CREATE OR REPLACE TRIGGER llmchat_message_emptied AFTER TRUNCATE ON llmchat_message
        FOR EACH STATEMENT EXECUTE FUNCTION llmchat_forget_totals()
    """,
    """
    CREATE OR REPLACE TRIGGER llmchat_total_of_old_code BEFORE INSERT ON llmchat_daytotal
        FOR EACH ROW WHEN (NEW.to_price IS NULL)
        EXECUTE FUNCTION llmchat_refuse_total()
    """,
)
DROP = (
    "DROP TRIGGER llmchat_total_of_old_code ON llmchat_daytotal",
    "DROP TRIGGER llmchat_message_emptied ON llmchat_message",
    "DROP FUNCTION llmchat_refuse_total",
    "DROP FUNCTION llmchat_forget_totals",
)


def _run(statements, mode):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            lock(schema_editor, llmchat_message=mode, llmchat_daytotal=mode)
            for statement in statements:
                schema_editor.execute(statement)

    return run


class Migration(migrations.Migration):

    dependencies = [
        ("llmchat", "0038_day_totals"),
    ]

    operations = [
        migrations.RunPython(
            _run(CREATE, "SHARE ROW EXCLUSIVE"), _run(DROP, "ACCESS EXCLUSIVE")
        ),
    ]
