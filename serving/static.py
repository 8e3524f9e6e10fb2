"""Static files that are served whether or not they have been collected."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage


class CollectedStorage(CompressedManifestStaticFilesStorage):
    """Hashed, compressed files after `collectstatic`; plain names before it.

    A process that nobody collected for (the tests, a first look) then still has
    its pages, where Django's own storage answers each of them with an error.
    """

    manifest_strict = False

    def stored_name(self, name: str) -> str:
        """Return the hashed name of a file, its own where nothing was collected."""
        if not self.hashed_files:
            return name
        return str(super().stored_name(name))
