"""The user model, a custom one because it cannot be swapped later."""

from __future__ import annotations

from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.contrib.auth.models import AbstractUser, UserManager
from django.db import transaction

from accounts import names, revocation


class AccountManager(UserManager["User"]):
    """Look users up by name, in any spelling."""

    use_in_migrations = False

    def get_by_natural_key(self, username: str | None) -> User:
        """Return the user of this name; called by Django's log-in.

        Raises: User.DoesNotExist.
        """
        spellings = list(names.spellings(username or ""))
        found = {user.username: user for user in self.filter(username__in=spellings)}
        for spelling in spellings:
            if spelling in found:
                return found[spelling]
        raise self.model.DoesNotExist

    async def aget_by_natural_key(self, username: str | None) -> User:
        """Return the same as `get_by_natural_key`."""
        return await sync_to_async(self.get_by_natural_key)(username)


class User(AbstractUser):
    """A user or an operator; the fields are Django's."""

    objects: ClassVar[AccountManager] = AccountManager()

    @classmethod
    def normalize_username(cls, username: str) -> str:
        """Return the stored form of a name; called by Django."""
        return names.normalize(username)

    def set_unusable_password(self) -> None:
        """Remove the password, which revokes refresh tokens as a new one does."""
        super().set_unusable_password()
        self._password = ""

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the user; a new password revokes the refresh tokens of the old one.

        Django keeps the entered password until the row is stored, but not when it only
        rehashes the same password.
        """
        entered: str | None = getattr(self, "_password", None)
        if entered is None or self._state.adding:
            super().save(*args, **kwargs)
            return
        with transaction.atomic(using=kwargs.get("using")):
            super().save(*args, **kwargs)
            revocation.revoke_all(self.pk)
