"""Revocation of refresh tokens.

Of a refresh token its id (`jti`), its user and its expiry are stored; never the token
itself, so that a copy of the database lets nobody log in. All tokens of one log-in are
a family: their ids have the same prefix.
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
    """Return the id of a new token, in a new family if none is given."""
    return f"{family or uuid4().hex}{_SEPARATOR}{uuid4().hex}"


def family_of(jti: str) -> str:
    """Return the family of a token; an old id without one is its own family."""
    return jti.partition(_SEPARATOR)[0]


def was_just_used(jti: str) -> bool:
    """Return whether a token was used up only a moment ago."""
    used = BlacklistedToken.objects.filter(token__jti=jti)
    return used.filter(blacklisted_at__gt=timezone.now() - _AT_ONCE).exists()


def revoke_family(jti: str, user_id: int) -> None:
    """Revoke all refresh tokens of the same log-in."""
    family = family_of(jti)
    same = Q(jti=family) | Q(jti__startswith=family + _SEPARATOR)
    _revoke(OutstandingToken.objects.filter(same, user_id=user_id))


def revoke_all(user_id: int) -> None:
    """Revoke all refresh tokens of a user."""
    _revoke(OutstandingToken.objects.filter(user_id=user_id))


def forget_token(instance: OutstandingToken, **kwargs: Any) -> None:
    """Remove the token itself from its row; called before the row is written."""
    instance.token = ""


def _revoke(tokens: QuerySet[OutstandingToken]) -> None:
    # Ordered, so that two transactions cannot deadlock.
    valid = tokens.filter(blacklistedtoken__isnull=True).order_by("pk")
    rows = [BlacklistedToken(token=token) for token in valid]
    BlacklistedToken.objects.bulk_create(rows, ignore_conflicts=True)
