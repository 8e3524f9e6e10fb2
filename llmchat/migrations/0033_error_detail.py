"""Why an answer failed, and what the admin needs to be quick with very many messages.

The totals of days are PostgreSQL's alone, as its triggers are. A trigger notes a day
when an answer of it changes more than a day later, or is deleted: by whomever.
"""

from django.db import migrations, models
from django.db.models import Q

_LATE = "now() - interval '24 hours'"
_COUNTED = "state, provider, model, finish_reason, input_tokens, output_tokens, cost"
_OLD, _NEW = (
    ", ".join(f"{row}.{name}" for name in _COUNTED.split(", ")) for row in ("OLD", "NEW")
)
CREATE = (
    """
    CREATE FUNCTION llmchat_note_changed_day() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO llmchat_daychange (day)
            VALUES ((NEW.created_at AT TIME ZONE 'UTC')::date);
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION llmchat_note_deleted_days() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO llmchat_daychange (day)
            SELECT DISTINCT (created_at AT TIME ZONE 'UTC')::date
            FROM gone WHERE role = 'assistant';
        RETURN NULL;
    END $$
    """,
    f"""
    CREATE TRIGGER llmchat_message_added AFTER INSERT ON llmchat_message
        FOR EACH ROW WHEN (NEW.role = 'assistant' AND NEW.created_at < {_LATE})
        EXECUTE FUNCTION llmchat_note_changed_day()
    """,
    f"""
    CREATE TRIGGER llmchat_message_changed AFTER UPDATE ON llmchat_message
        FOR EACH ROW WHEN (
            NEW.role = 'assistant' AND NEW.created_at < {_LATE}
            AND ({_OLD}) IS DISTINCT FROM ({_NEW})
        )
        EXECUTE FUNCTION llmchat_note_changed_day()
    """,
    """
    CREATE TRIGGER llmchat_message_deleted AFTER DELETE ON llmchat_message
        REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION llmchat_note_deleted_days()
    """,
)
DROP = (
    "DROP TRIGGER llmchat_message_deleted ON llmchat_message",
    "DROP TRIGGER llmchat_message_changed ON llmchat_message",
    "DROP TRIGGER llmchat_message_added ON llmchat_message",
    "DROP FUNCTION llmchat_note_deleted_days",
    "DROP FUNCTION llmchat_note_changed_day",
)


def on_postgresql(statements):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            for statement in statements:
                schema_editor.execute(statement)

    return run


class Migration(migrations.Migration):

    dependencies = [
        ("llmchat", "0032_models"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="error_detail",
            field=models.CharField(blank=True, db_default="", default="", help_text="Why it failed, for operators.", max_length=300),
        ),
        migrations.CreateModel(
            name="DayChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
            ],
        ),
        migrations.CreateModel(
            name="DayTotal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                ("kind", models.CharField(choices=[("day", "Day"), ("model", "Model"), ("user", "User")], max_length=8)),
                ("user_id", models.BigIntegerField(null=True)),
                ("provider", models.CharField(default="", max_length=64)),
                ("model", models.CharField(default="", max_length=128)),
                ("state", models.CharField(default="", max_length=16)),
                ("finish_reason", models.CharField(default="", max_length=32)),
                ("answers", models.PositiveBigIntegerField()),
                ("unpriced", models.PositiveBigIntegerField()),
                ("input_tokens", models.PositiveBigIntegerField()),
                ("output_tokens", models.PositiveBigIntegerField()),
                ("cost", models.DecimalField(decimal_places=10, max_digits=20, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(condition=Q(("kind", "day")), fields=["day"], name="day_total_known"),
                    models.Index(fields=["kind", "day"], name="day_total_kind"),
                    models.Index(condition=Q(("kind", "user")), fields=["user_id", "day"], name="day_total_user"),
                ],
            },
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(condition=Q(("finish_reason__in", ["", "stop"]), _negated=True), fields=["finish_reason", "-created_at"], name="message_cut_off"),
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(condition=Q(("state__in", ["error", "interrupted", "cancelled"])), fields=["state", "-created_at"], name="message_not_whole"),
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(fields=["-cost"], name="conversation_cost"),
        ),
        migrations.RunPython(on_postgresql(CREATE), on_postgresql(DROP)),
    ]
