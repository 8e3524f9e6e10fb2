"""The end of refresh tokens before their time.

What is stored of a refresh token is its id (`jti`), its user and its expiry; never the
token, so that nobody can log in with a copy of the database. All tokens that came of
one log-in are a family: their ids begin alike.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.db.models import Q, QuerySet
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import (
    BlacklistedToken,
    OutstandingToken,
)

_SEPARATOR = "-"

# Two tabs may refresh at once, and proxies send a request again. The second is refused,
# but is no sign of a theft.
_AT_ONCE = timedelta(seconds=10)


def new_jti(family: str = "") -> str:
    """Return the id of a new token, of a family of its own where none is named."""
    return f"{family or uuid4().hex}{_SEPARATOR}{uuid4().hex}"


def family_of(jti: str) -> str:
    """Return the family of a token; an older id, without one, begins a family."""
    return jti.partition(_SEPARATOR)[0]


def was_just_used(jti: str) -> bool:
    """Return whether a token was used up only a moment ago."""
    used = BlacklistedToken.objects.filter(token__jti=jti)
    return used.filter(blacklisted_at__gt=timezone.now() - _AT_ONCE).exists()


def revoke_family(jti: str, user_id: int) -> None:
    """Revoke all refresh tokens that came of the same log-in as this one."""
    family = family_of(jti)
    same = Q(jti=family) | Q(jti__startswith=family + _SEPARATOR)
    _revoke(OutstandingToken.objects.filter(same, user_id=user_id))


def revoke_all(user_id: int) -> None:
    """Revoke all refresh tokens of a user."""
    _revoke(OutstandingToken.objects.filter(user_id=user_id))


def forget_token(instance: OutstandingToken, **kwargs: Any) -> None:
    """Called before a token's row is written: leave the token itself out."""
    instance.token = ""


def _revoke(tokens: QuerySet[OutstandingToken]) -> None:
    # In order, so that two at once cannot wait for each other.
    valid = tokens.filter(blacklistedtoken__isnull=True).order_by("pk")
    rows = [BlacklistedToken(token=token) for token in valid]
    BlacklistedToken.objects.bulk_create(rows, ignore_conflicts=True)
