"""Changes of users and API keys, announced to all workers once they are committed.

A command that runs in a process of its own announces nothing; the watch finds the
change within half a ping interval.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction

from llmchat.answers import runtime

# The notice that names a user whose sockets are to be checked.
LOOK = "sockets.look"

# Fields that a log-in or the use of a key writes; that ends no session and no key.
_HARMLESS = frozenset({"last_login", "last_used_at"})


def on_user_change(
    instance: Any, using: str, created: bool = False, **kwargs: Any
) -> None:
    """Called when a user has been saved or deleted."""
    if not created:
        _tell(instance.pk, using, kwargs.get("update_fields"))


def on_key_change(
    instance: Any, using: str, created: bool = False, **kwargs: Any
) -> None:
    """Called when an API key has been saved or deleted."""
    if not created:
        _tell(instance.user_id, using, kwargs.get("update_fields"))


def _tell(user_id: int, using: str, update_fields: Any) -> None:
    if update_fields is None or not _HARMLESS.issuperset(update_fields):
        tell = partial(runtime.tell_soon, LOOK, user_id)
        transaction.on_commit(tell, using=using)
