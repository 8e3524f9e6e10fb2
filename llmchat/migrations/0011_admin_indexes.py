"""Indexes of the admin: the usage of a month, and the text of every message.

The text is searched by PostgreSQL's own full-text index, which other databases do
not have. The cut keeps a text within what a `tsvector` may hold, so that no message
is refused for its index; an answer is indexed once it has ended, not while it grows.
The planner has no statistics of a partial index, hence those of their own: without
them it looks a common word up as if it were a rare one.
"""

from django.conf import settings
from django.db import migrations, models

WORDS = "to_tsvector('simple', left(content, 100000))"
CREATE = (
    f"CREATE INDEX message_text ON llmchat_message USING gin ({WORDS})"
    " WHERE state <> 'streaming'",
    f"CREATE STATISTICS message_words ON ({WORDS}) FROM llmchat_message",
)
DROP = ("DROP STATISTICS message_words", "DROP INDEX message_text")


def on_postgresql(statements):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            for statement in statements:
                schema_editor.execute(statement)

    return run


class Migration(migrations.Migration):

    dependencies = [
        ("llmchat", "0010_conversation_totals"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name='message',
            index=models.Index(condition=models.Q(('role', 'assistant')), fields=['created_at', 'provider', 'model', 'user', 'state', 'input_tokens', 'output_tokens', 'cost'], name='message_usage'),
        ),
        migrations.RunPython(on_postgresql(CREATE), on_postgresql(DROP)),
    ]
