"""`manage.py check`: Django's own command, with all checks of the project."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import check

from llmchat.checks import all_registered


class Command(check.Command):
    """Check the project. The errors of our checks fail only this command."""

    def handle(self, *app_labels: Any, **options: Any) -> None:
        """Run Django's checks and ours."""
        with all_registered():
            super().handle(*app_labels, **options)
