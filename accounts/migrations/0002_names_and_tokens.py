"""Normalize the names that are stored, and forget the refresh tokens themselves."""

import unicodedata

from django.db import migrations


def normalize_names(apps, schema_editor):
    users = apps.get_model("accounts", "User")._base_manager.using(
        schema_editor.connection.alias
    )
    for pk, stored in users.values_list("pk", "username").iterator():
        name = unicodedata.normalize("NFKC", stored.strip()).strip()
        # One letter can become eighteen: too many for the column.
        is_possible = name and name != stored and len(name) <= 150
        # Two accounts may have one name in two spellings: each keeps its own.
        if is_possible and not users.filter(username=name).exists():
            users.filter(pk=pk).update(username=name)


def forget_tokens(apps, schema_editor):
    connection = schema_editor.connection
    if connection.vendor == "sqlite":
        # What is overwritten would stay readable in the file.
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete = ON")
    tokens = apps.get_model("token_blacklist", "OutstandingToken")._base_manager
    tokens.using(connection.alias).exclude(token="").update(token="")


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0001_initial"),
        ("token_blacklist", "0013_alter_blacklistedtoken_options_and_more"),
    ]

    operations = [
        migrations.AlterModelManagers(name="user", managers=[]),
        migrations.RunPython(normalize_names, migrations.RunPython.noop),
        migrations.RunPython(forget_tokens, migrations.RunPython.noop),
    ]
