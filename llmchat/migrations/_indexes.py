"""Indexes of large tables, built while the server goes on writing to them."""

from django.contrib.postgres import operations
from django.db.migrations import AddIndex


class AddIndexConcurrently(operations.AddIndexConcurrently):
    """Django's own, which SQLite takes as well: it has no such index, and one writer.

    In a migration with `atomic = False`, and alone in it.
    """

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        """Build the index."""
        self._run("database_forwards", app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        """Remove the index."""
        self._run("database_backwards", app_label, schema_editor, from_state, to_state)

    def _run(self, name, app_label, schema_editor, *states):
        is_postgresql = schema_editor.connection.vendor == "postgresql"
        kind = operations.AddIndexConcurrently if is_postgresql else AddIndex
        getattr(kind, name)(self, app_label, schema_editor, *states)
