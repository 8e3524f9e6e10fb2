"""Entries in the admin's log for changes that are not made on a page of the admin.

An entry says what was done, but never a value.
"""

from __future__ import annotations

from collections.abc import Collection

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model

from accounts.models import User

# The usernames of accounts that keep entries. Nobody can register them or log in with
# them.
COMMAND = "(manage.py)"
DELETED = "(deleted)"
# Deleting these accounts would delete the audit itself.
KEEPERS = frozenset({COMMAND, DELETED})


def note_command(
    kind: type[Model], message: str, *, ident: object = "", flag: int = CHANGE
) -> None:
    """Log what a command has changed."""
    LogEntry.objects.create(
        user=_nobody(COMMAND),
        content_type=ContentType.objects.get_for_model(kind),
        object_id=str(ident),
        object_repr="",
        action_flag=flag,
        change_message=message,
    )


def keep(user_ids: Collection[int]) -> None:
    """Keep the entries of users who are about to be deleted, without their names."""
    entries = LogEntry.objects.filter(user__in=user_ids)
    if entries.exists():
        entries.update(user=_nobody(DELETED))


def _nobody(name: str) -> User:
    user = User(username=name, is_active=False)
    user.set_unusable_password()
    User.objects.bulk_create([user], ignore_conflicts=True)
    return User.objects.get(username=name)
