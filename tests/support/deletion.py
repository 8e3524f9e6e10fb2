"""Deletion of accounts as a command would do it, without requests."""

from __future__ import annotations

from django.db.models import QuerySet

from accounts.deletion import delete_emptied, empty
from accounts.models import User


def delete_users(users: QuerySet[User], *, by: int | None = None) -> None:
    """Delete accounts with their conversations and tokens.

    Raises: UnfinishedError, as `empty`.
    """
    empty(users, by=by)
    delete_emptied(users)
