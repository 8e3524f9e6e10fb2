"""Changes of users and API keys, told to all workers once they are committed.

A command in a process of its own tells nobody: the watch finds it within half a ping
interval.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction

from llmchat.answers import runtime

# Whose sockets are to be looked at.
LOOK = "sockets.look"

# What a log-in and a use of a key store: nothing that ends either.
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
