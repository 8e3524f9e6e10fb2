"""Revocation of refresh tokens.

Of a refresh token its id (`jti`), its user and its expiry are stored; never the token
itself, so that a copy of the database lets nobody log in. All tokens of one log-in are
a family: their ids have the same prefix. Behind it is the token that one was given for.
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

# A page that is reloaded in the middle of a refresh never sees the new pair, two tabs
# may refresh at once, and proxies send a request again: no sign of a theft. Nor is it
# one that a client gives up waiting for an answer that is lost, and comes again: ours
# after 10 seconds, older copies of them after 30, and some proxies after 60. It costs
# that a thief who comes by then is found out only when the second of the two refreshes.
_AT_ONCE = timedelta(seconds=90)
# How many pairs are given for one token, all in all: more are a thief's.
_MOST_PAIRS = 20


def new_jti(used: str = "") -> str:
    """Return the id of a new token: one given for a used one, or in a new family."""
    start = _start_of_next(used) if used else uuid4().hex + _SEPARATOR
    return start + uuid4().hex


def family_of(jti: str) -> str:
    """Return the family of a token; an old id without one is its own family."""
    return jti.partition(_SEPARATOR)[0]


def use_up(token: Token, user: User | None) -> bool:
    """Claim a refresh token; the unique constraint lets one caller succeed."""
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
    return used.filter(blacklisted_at__gt=timezone.now() - _AT_ONCE).exists()


def may_come_again(jti: str, user_id: int) -> bool:
    """Return whether a token that was just used may be exchanged once more.

    Not behind a log-out or a new password, which leave nothing valid of what was given
    for it; nor when some of that has been used: then it has arrived.
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
    """Return how the ids of tokens begin that are given for this one."""
    own = jti.rpartition(_SEPARATOR)[2]
    return f"{family_of(jti)}{_SEPARATOR}{own}{_SEPARATOR}"


def _valid() -> QuerySet[OutstandingToken]:
    return OutstandingToken.objects.filter(blacklistedtoken__isnull=True)


def _revoke(tokens: QuerySet[OutstandingToken]) -> bool:
    # Ordered, so that two transactions cannot deadlock.
    rows = [BlacklistedToken(token=token) for token in tokens.order_by("pk")]
    BlacklistedToken.objects.bulk_create(rows, ignore_conflicts=True)
    return bool(rows)
