"""Locks that a migration takes while the server runs: soon, or not yet."""

import time

from django.db import OperationalError, transaction

_LOCKED = "55P03"
# Whoever wants a table that this waits for, waits behind it: so not for long at a time.
TRIES = 20
_WAIT = "1s"
PAUSE_S = 2.0


def lock(schema_editor, **tables):
    """Lock tables of PostgreSQL, named with their modes, until the transaction ends.

    A backup, or another long reader, may hold one. So others are let by between tries.
    """
    connection = schema_editor.connection
    statements = [f"LOCK TABLE {name} IN {mode} MODE" for name, mode in tables.items()]
    for tries_left in reversed(range(TRIES)):
        try:
            with transaction.atomic(connection.alias), connection.cursor() as cursor:
                cursor.execute("SELECT current_setting('lock_timeout')")
                (before,) = cursor.fetchone()
                cursor.execute(f"SET LOCAL lock_timeout = '{_WAIT}'")
                for statement in statements:
                    cursor.execute(statement)
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [before])
            return
        except OperationalError as exc:
            if getattr(exc.__cause__, "sqlstate", None) != _LOCKED or not tries_left:
                raise
        time.sleep(PAUSE_S)
