"""Revocation of refresh tokens.

The id (`jti`), the user and the expiry of a refresh token are stored, but never the
token itself, so that nobody can log in with a copy of the database. All tokens of one
log-in are a family: their ids begin with the same prefix. After the prefix, an id names
the token for which this one was issued.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import (
    BlacklistedToken,
    OutstandingToken,
)
from rest_framework_simplejwt.utils import datetime_from_epoch

if TYPE_CHECKING:
    from rest_framework_simplejwt.tokens import Token

    from accounts.models import User

_SEPARATOR = "-"

# For how long a used token can be used again. A page that is reloaded in the middle of
# a refresh never sees the new pair, two tabs may refresh at the same time, and proxies
# repeat requests: none of this is a sign of theft. Neither is it when a client gives up
# waiting for a response that was lost, and tries again: ours after 10 seconds, older
# copies of them after 30, and some proxies after 60. The price is that a thief who uses
# the token within this time is detected only when the second of the two refreshes.
_REUSE_GRACE = timedelta(seconds=90)
# How many pairs are issued for one token in total; only a thief would need more.
_MOST_PAIRS = 20


def new_jti(used: str = "") -> str:
    """Return the id of a new token: issued for a used one, or in a new family."""
    start = _start_of_next(used) if used else uuid4().hex + _SEPARATOR
    return start + uuid4().hex


def family_of(jti: str) -> str:
    """Return the family of a token; an old id without a prefix is its own family."""
    return jti.partition(_SEPARATOR)[0]


def use_up(token: Token, user: User | None) -> bool:
    """Claim a refresh token; the unique constraint lets only one caller succeed."""
    outstanding, _ = OutstandingToken.objects.get_or_create(
        jti=token["jti"],
        defaults={
            "user": user,
            "created_at": token.current_time,
            "expires_at": datetime_from_epoch(token["exp"]),
        },
    )
    try:
        with transaction.atomic():
            BlacklistedToken.objects.create(token=outstanding)
    except IntegrityError:
        return False
    return True


def was_just_used(jti: str) -> bool:
    """Return whether a token was used up only a moment ago."""
    used = BlacklistedToken.objects.filter(token__jti=jti)
    return used.filter(blacklisted_at__gt=timezone.now() - _REUSE_GRACE).exists()


def may_come_again(jti: str, user_id: int) -> bool:
    """Return whether a used token can be exchanged again, because it was just used.

    It cannot after a log-out or a new password, because none of the tokens that were
    issued for it is valid then; nor once one of those was used, which proves that it
    arrived.
    """
    given = _valid().filter(user_id=user_id, jti__startswith=_start_of_next(jti))
    return was_just_used(jti) and 0 < given.count() < _MOST_PAIRS


def revoke_family(jti: str, user_id: int) -> bool:
    """Revoke all refresh tokens of the same log-in; return whether there were any."""
    family = family_of(jti)
    same = Q(jti=family) | Q(jti__startswith=family + _SEPARATOR)
    return _revoke(_valid().filter(same, user_id=user_id))


def revoke_all(user_id: int) -> None:
    """Revoke all refresh tokens of a user."""
    _revoke(_valid().filter(user_id=user_id))


def forget_token(instance: OutstandingToken, **kwargs: Any) -> None:
    """Remove the token itself from its row; called before the row is written."""
    instance.token = ""


def _start_of_next(jti: str) -> str:
    """Return the beginning of the ids of tokens that are issued for this one."""
    own = jti.rpartition(_SEPARATOR)[2]
    return f"{family_of(jti)}{_SEPARATOR}{own}{_SEPARATOR}"


def _valid() -> QuerySet[OutstandingToken]:
    return OutstandingToken.objects.filter(blacklistedtoken__isnull=True)


def _revoke(tokens: QuerySet[OutstandingToken]) -> bool:
    # Ordered, so that two transactions cannot deadlock.
    rows = [BlacklistedToken(token=token) for token in tokens.order_by("pk")]
    BlacklistedToken.objects.bulk_create(rows, ignore_conflicts=True)
    return bool(rows)
