"""Who has changed what, in the admin's own log: what no page of the admin writes.

Entries say what was done, never a value.
"""

from __future__ import annotations

from collections.abc import Collection

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model

from accounts.models import User

# Nobody can register these names, nor log in by them.
COMMAND = "(manage.py)"
DELETED = "(deleted)"
# With these accounts the audit itself would be deleted.
KEEPERS = frozenset({COMMAND, DELETED})


def note_command(
    kind: type[Model], message: str, *, ident: object = "", flag: int = CHANGE
) -> None:
    """Note what a command has changed."""
    LogEntry.objects.create(
        user=_nobody(COMMAND),
        content_type=ContentType.objects.get_for_model(kind),
        object_id=str(ident),
        object_repr="",
        action_flag=flag,
        change_message=message,
    )


def keep(user_ids: Collection[int]) -> None:
    """Keep what users have done who are about to be deleted, without their names."""
    entries = LogEntry.objects.filter(user__in=user_ids)
    if entries.exists():
        entries.update(user=_nobody(DELETED))


def _nobody(name: str) -> User:
    user = User(username=name, is_active=False)
    user.set_unusable_password()
    User.objects.bulk_create([user], ignore_conflicts=True)
    return User.objects.get(username=name)
