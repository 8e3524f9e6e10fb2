"""`manage.py check`: Django's own, and a check of the encryption key."""

from __future__ import annotations

from typing import Any

from django.core.management.base import SystemCheckError
from django.core.management.commands import check

from llmchat.checks import wrong_encryption_key


class Command(check.Command):
    """Check the project. E004 fails this command only, so that others still run."""

    def handle(self, *app_labels: Any, **options: Any) -> None:
        """Run Django's checks, then ours."""
        super().handle(*app_labels, **options)
        if not options["list_tags"] and (error := wrong_encryption_key()):
            raise SystemCheckError(f"System check failed: {error}")
