"""Storage of static files, which also works before `collectstatic`."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage


class CollectedStorage(CompressedManifestStaticFilesStorage):
    """Hashed, compressed files after `collectstatic`; plain names before it.

    Tests and a first look need no `collectstatic` then; with Django's own storage every
    page would fail.
    """

    manifest_strict = False

    def stored_name(self, name: str) -> str:
        """Return the hashed name of a file, or its own before `collectstatic`."""
        if not self.hashed_files:
            return name
        try:
            return str(super().stored_name(name))
        except ValueError:
            # New since the files were collected: every page with it would fail, even
            # the one that says that there is no such page.
            return name
