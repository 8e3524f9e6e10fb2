"""What a valid bearer, an access token or an API key, grants."""

from __future__ import annotations

from typing import Final, NamedTuple

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.errors import ScopeError


class Scope(models.TextChoices):
    """What an API key can be used for."""

    CHAT = "chat", _("chat: send messages, stop answers, change conversations")
    READ = "read", _("read: see conversations, streams and providers")
    USAGE = "usage", _("usage: see what was used and what it cost")


ALL_SCOPES: Final = frozenset(scope.value for scope in Scope)
# The scope of what no API key is allowed to do.
TOKEN_ONLY: Final = None


class Verified(NamedTuple):
    """The user of a bearer, its expiry in epoch seconds, and what it grants.

    A token is valid while its `generation` is the user's, which a new password changes;
    None, for an API key, fits every generation. `key_id` is None for an access token,
    which grants all that its user is allowed to do. `messages_per_minute` is an API
    key's own limit, None if it has only its user's.
    """

    user_id: int
    expires_at: float
    generation: int | None = 0
    scopes: frozenset[str] = ALL_SCOPES
    key_id: int | None = None
    messages_per_minute: int | None = None

    def is_of(self, generation: int) -> bool:
        """Return whether the bearer is valid while its user has this generation."""
        return self.generation in (None, generation)

    def require(self, scope: Scope | None) -> None:
        """Check that the bearer has a scope; an access token has all, and `TOKEN_ONLY`.

        Raises: ScopeError.
        """
        if self.key_id is not None and (scope is None or scope not in self.scopes):
            raise ScopeError(None if scope is None else scope.value)
