"""`manage.py changepassword`: Django's command, for a name in any spelling."""

from __future__ import annotations

import getpass
from contextlib import suppress
from typing import Any

from django.contrib.auth.management.commands import changepassword

from accounts import audit
from accounts.models import User


class Command(changepassword.Command):
    """Set the password of a user, and revoke the refresh tokens."""

    def handle(self, *args: Any, **options: Any) -> str:
        """Look the name up in its stored spelling, then run Django's command."""
        if name := options["username"]:
            users = User.objects.db_manager(options["database"])
            with suppress(User.DoesNotExist):  # Django's own command says so
                options["username"] = users.get_by_natural_key(name).username
        said = str(super().handle(*args, **options))
        name = options["username"] or getpass.getuser()
        user = User.objects.get(username=name)
        audit.note_command(User, "changepassword: set a password", ident=user.pk)
        return said
