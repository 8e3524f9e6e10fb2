"""The project's own user model, so that it can grow without a swap later."""

from __future__ import annotations

from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.contrib.auth.models import AbstractUser, UserManager
from django.db import transaction

from accounts import names, revocation


class AccountManager(UserManager["User"]):
    """Finds users by their names, however those were typed."""

    use_in_migrations = False

    def get_by_natural_key(self, username: str | None) -> User:
        """Called by Django's log-in. Return the user of this name.

        Raises: User.DoesNotExist.
        """
        spellings = list(names.spellings(username or ""))
        found = {user.username: user for user in self.filter(username__in=spellings)}
        for spelling in spellings:
            if spelling in found:
                return found[spelling]
        raise self.model.DoesNotExist

    async def aget_by_natural_key(self, username: str | None) -> User:
        """Return the same as its synchronous twin."""
        return await sync_to_async(self.get_by_natural_key)(username)


class User(AbstractUser):
    """A person who chats, or an operator; names and flags are Django's."""

    objects: ClassVar[AccountManager] = AccountManager()

    @classmethod
    def normalize_username(cls, username: str) -> str:
        """Called by Django for every name that it stores."""
        return names.normalize(username)

    def set_unusable_password(self) -> None:
        """Take the password away; it counts as a new one."""
        super().set_unusable_password()
        self._password = ""

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the user; a new password revokes the refresh tokens of the old one.

        Django keeps the password as entered until the row is stored, but not where it
        only hashes the same password anew.
        """
        entered: str | None = getattr(self, "_password", None)
        if entered is None or self._state.adding:
            super().save(*args, **kwargs)
            return
        with transaction.atomic(using=kwargs.get("using")):
            super().save(*args, **kwargs)
            revocation.revoke_all(self.pk)
