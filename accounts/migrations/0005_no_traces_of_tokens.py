"""Write SQLite's file anew where refresh tokens were stored once.

`0002` has emptied their rows. What was deleted before, or moved within the file when
pages were split, stays readable in it otherwise.
"""

from django.db import migrations


def write_anew(apps, schema_editor):
    connection = schema_editor.connection
    if connection.vendor != "sqlite":
        return
    tokens = apps.get_model("token_blacklist", "OutstandingToken")._base_manager
    if not tokens.using(connection.alias).exists():
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA temp_store")
        (where,) = cursor.fetchone()
        # The copy of all that is stored, which needs a disk's room, not memory's.
        cursor.execute("PRAGMA temp_store = FILE")
        cursor.execute("VACUUM")
        cursor.execute(f"PRAGMA temp_store = {where}")
        # Old pages are in the log as well.
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class Migration(migrations.Migration):

    # SQLite does not do it in a transaction.
    atomic = False

    dependencies = [
        ("accounts", "0004_api_keys"),
        ("token_blacklist", "0013_alter_blacklistedtoken_options_and_more"),
    ]

    operations = [
        migrations.RunPython(write_anew, migrations.RunPython.noop),
    ]
