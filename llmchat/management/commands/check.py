"""`manage.py check`: Django's own, which a wrong encryption key fails as well."""

from __future__ import annotations

from typing import Any

from django.core.management.base import SystemCheckError
from django.core.management.commands import check

from llmchat.checks import wrong_encryption_key


class Command(check.Command):
    """Checks the project; as an error of `check` alone E004 stops nothing else."""

    def handle(self, *app_labels: Any, **options: Any) -> None:
        """Called by Django to run the command."""
        super().handle(*app_labels, **options)
        if not options["list_tags"] and (error := wrong_encryption_key()):
            raise SystemCheckError(f"System check failed: {error}")
