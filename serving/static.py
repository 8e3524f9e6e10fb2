"""Storage of static files, which also works before `collectstatic`."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage


class CollectedStorage(CompressedManifestStaticFilesStorage):
    """Hashed, compressed files after `collectstatic`; plain names before it.

    So neither tests nor a first look need `collectstatic`; with Django's own storage,
    every page would fail without it.
    """

    manifest_strict = False

    def stored_name(self, name: str) -> str:
        """Return the hashed name of a file, or its own before `collectstatic`."""
        if not self.hashed_files:
            return name
        try:
            return str(super().stored_name(name))
        except ValueError:
            # The file is newer than the collected ones. Every page that links it would
            # fail, even the one for "not found".
            return name
