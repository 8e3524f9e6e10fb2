"""What a good bearer says: an access token, or an API key."""

from __future__ import annotations

from typing import Final, NamedTuple

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.errors import ScopeError


class Scope(models.TextChoices):
    """What an API key may be used for."""

    CHAT = "chat", _("chat: send messages, stop answers, change conversations")
    READ = "read", _("read: see conversations, streams and providers")
    USAGE = "usage", _("usage: see what was used and what it cost")


ALL_SCOPES: Final = frozenset(scope.value for scope in Scope)
# The scope of what no API key may do.
TOKEN_ONLY: Final = None


class Verified(NamedTuple):
    """Whose a bearer is, its end in epoch seconds, and what it may.

    A token counts while its `generation` is the user's: a new password begins another;
    a key is of all of them. `key_id` is None for an access token, which may everything
    that its user may. `messages_per_minute` is a key's own limit, None for none beside
    its user's.
    """

    user_id: int
    expires_at: float
    generation: int | None = 0
    scopes: frozenset[str] = ALL_SCOPES
    key_id: int | None = None
    messages_per_minute: int | None = None

    def is_of(self, generation: int) -> bool:
        """Return whether it counts while its user is of this generation."""
        return self.generation in (None, generation)

    def require(self, scope: Scope | None) -> None:
        """Check what a bearer may; `TOKEN_ONLY` is for access tokens.

        Raises: ScopeError.
        """
        if self.key_id is not None and (scope is None or scope not in self.scopes):
            raise ScopeError(None if scope is None else scope.value)
