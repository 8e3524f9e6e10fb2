"""`manage.py create_demo`: create the account for a first look."""

from __future__ import annotations

import os
import secrets
from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import transaction

from accounts.models import User

USERNAME = "demo"


class Command(BaseCommand):
    """Create the operator `demo` in a database without accounts."""

    help = (
        "Create the account 'demo' if there is no account yet. Its password comes "
        "from LLMCHAT_DEMO_PASSWORD; otherwise it is random and printed once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--migrate",
            action="store_true",
            help="migrate the database first, in the same process",
        )

    def handle(self, *args: Any, migrate: bool = False, **options: Any) -> None:
        """Create the account, unless there is any account."""
        if migrate:
            call_command("migrate", verbosity=0)
        password = os.environ.get("LLMCHAT_DEMO_PASSWORD") or secrets.token_urlsafe(9)
        with transaction.atomic():
            if User.objects.exists():
                return
            User.objects.create_superuser(USERNAME, password=password)
        if os.environ.get("LLMCHAT_DEMO_PASSWORD"):
            self.stdout.write(
                f"Created the account {USERNAME} (password: LLMCHAT_DEMO_PASSWORD)"
            )
        else:
            self.stdout.write(f"Created the account {USERNAME}, password {password}")
