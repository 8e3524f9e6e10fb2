"""Issue, check, rotate and revoke tokens.

REST and the Socket.IO CONNECT check access tokens and API keys with the same function,
`user_for_token`, so that a token is valid for both or for neither.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.db import transaction
from django.db.models import Q
from rest_framework_simplejwt import exceptions as jwt_exceptions
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token
from rest_framework_simplejwt.utils import datetime_from_epoch

from accounts import api_keys, revocation
from accounts.errors import CredentialsError, TokenError
from accounts.key_text import is_key
from accounts.models import User
from accounts.remembered import remembered
from accounts.verified import Verified

logger = logging.getLogger(__name__)

_USER_CLAIM = "user_id"
# The user's `token_generation` when the token was issued; 0 if the token has none.
_GENERATION_CLAIM = "generation"
# How many access tokens with a checked signature are remembered: clients send the same
# token many times.
_REMEMBERED_TOKENS = 1_000


class _PresentedToken(RefreshToken):
    """A refresh token sent by a client.

    Whether it was used is decided only when it is claimed (`revocation.use_up`),
    because only that is safe when several requests send it at the same time.
    """

    def check_blacklist(self) -> None:
        """Check nothing; called while the token is decoded."""


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The two tokens of a log-in, encoded."""

    access: str
    refresh: str


def bearer_token(header: str | None) -> str:
    """Return the token of an `Authorization` header, "" if there is none.

    A header of another scheme counts as none.

    Raises: TokenError, if the scheme is Bearer and no token follows.
    """
    scheme, _, token = (header or "").strip().partition(" ")
    if scheme.lower() != "bearer":
        return ""
    token = token.strip()
    if not token or " " in token:
        raise TokenError("token_invalid")
    return token


def user_for_token(raw: object) -> tuple[User, Verified]:
    """Return the active user of an access token or API key, and what it grants.

    Raises: TokenError.
    """
    verified = api_keys.verify(raw) if is_key(raw) else verify(raw)
    user = remembered.find(verified.user_id)
    if user is None or not verified.is_of(user.token_generation):
        # Another process may have changed the user, which is not known here yet.
        user = active_user(verified)
    return user, verified


def known(raw: object) -> Verified | None:
    """Return what an access token or API key grants, without reading the database.

    None means that the database must be queried.

    Raises: TokenError.
    """
    verified = api_keys.known(raw) if is_key(raw) else verify(raw)
    if verified is None:
        return None
    is_known = remembered.is_known(verified.user_id, verified.generation)
    return verified if is_known else None


def verify(raw: object) -> Verified:
    """Return what an access token grants, if it is signed and not expired.

    `raw` is what the client sent, of any type; None and "" mean a missing token.

    Raises: TokenError.
    """
    if raw is None or raw == "":
        raise TokenError("token_missing")
    if not isinstance(raw, str):
        raise TokenError("token_invalid")
    verified = _verified(raw)
    if verified.expires_at <= time.time():
        raise TokenError("token_expired")
    return verified


@lru_cache(_REMEMBERED_TOKENS)
def _verified(raw: str) -> Verified:
    """Return what a token grants; check only what stays: its signature and type."""
    token = _decode(AccessToken, raw)
    return Verified(_user_id(token), float(token["exp"]), _generation(token))


def active_user(verified: Verified) -> User:
    """Return the active user of a token from the database.

    Raises: TokenError.
    """
    user = remembered.read_due(verified.user_id, _active_users)
    if user is None or not verified.is_of(user.token_generation):
        raise TokenError("token_invalid")
    return user


def issue_tokens(*, user: User) -> TokenPair:
    """Return new tokens for a user who has just logged in.

    Raises: CredentialsError, if the password was changed in the meantime.
    """
    with transaction.atomic():
        # A change of the password waits for the lock, and then revokes these, too.
        locked = User.objects.select_for_update(no_key=True)
        stored = locked.filter(pk=user.pk, password=user.password).first()
        if stored is None:
            raise CredentialsError
        return _pair(_new_refresh(stored))


def rotate_refresh_token(*, raw: object) -> TokenPair:
    """Exchange a refresh token for a new pair; the old one is used up.

    For a moment, it can be exchanged again, because the pair may not have arrived. As
    soon as one of the pairs is used, the others end.

    Any other token that was used up or revoked is in the hands of both a user and a
    thief. Whichever was quicker, the thief may hold the newer token, so the whole
    family is revoked.

    Raises: TokenError.
    """
    token = _decode(_PresentedToken, raw)
    jti = token["jti"]
    with transaction.atomic():
        user = _active_user(_user_id(token), lock=True)
        _check_generation(user, _generation(token))
        if revocation.use_up(token, user):
            revocation.revoke_family(jti, user.pk)
            return _pair(_new_refresh(user, jti))
        if revocation.may_come_again(jti, user.pk):
            return _pair(_new_refresh(user, jti))
        # A tab may refresh just after another one logged out. Nothing is left to revoke
        # then, and that is no reuse to report.
        if revocation.revoke_family(jti, user.pk) or not revocation.was_just_used(jti):
            _report_reuse(user.pk)
    raise TokenError("token_invalid")


def revoke_refresh_token(*, raw: object) -> None:
    """Revoke a refresh token and the rest of its family.

    Raises: TokenError, if it was used before.
    """
    token = _decode(_PresentedToken, raw)
    user_id = _user_id(token)
    with transaction.atomic():
        # Without the lock, a concurrent deletion of the account would miss these rows.
        locked = User.objects.select_for_update(no_key=True)
        user = locked.filter(pk=user_id).first()
        is_first = revocation.use_up(token, user)
        revocation.revoke_family(token["jti"], user_id)
    if not is_first:
        _report_reuse(user_id)
        raise TokenError("token_invalid")


_UNUSABLE = (
    jwt_exceptions.TokenError,
    KeyError,
    OverflowError,  # an expiry beyond any calendar
    TypeError,
    ValueError,
)


def _decode(kind: type[Token], raw: object) -> Token:
    if not isinstance(raw, str):
        raise TokenError("token_invalid")
    try:
        token = kind(raw)  # type: ignore[arg-type]  # upstream's annotation is wrong
        token[_USER_CLAIM]
        # The leeway is for clocks that are ahead, not for expired tokens.
        has_expired = float(token["exp"]) <= time.time()
    except jwt_exceptions.ExpiredTokenError as exc:
        raise TokenError("token_expired") from exc
    except _UNUSABLE as exc:
        raise TokenError("token_invalid") from exc
    if has_expired:
        raise TokenError("token_expired")
    return token


def _active_user(user_id: int, *, lock: bool = False) -> User:
    users = User.objects.all()
    if lock:
        users = users.select_for_update(no_key=True)
    try:
        return users.get(pk=user_id, is_active=True)
    except (User.DoesNotExist, OverflowError) as exc:
        raise TokenError("token_invalid") from exc


def _active_users(user_id: int, others: Collection[int]) -> Iterable[User]:
    """Return those of the users who are active."""
    # Only `exact` takes numbers that are too large for the column.
    which = Q(pk=user_id) | Q(pk__in=others) if others else Q(pk=user_id)
    try:
        return list(User.objects.filter(which, is_active=True))
    except OverflowError:
        return []


def _check_generation(user: User, generation: int) -> None:
    """Raises: TokenError, if the password was replaced since the token was issued."""
    if user.token_generation != generation:
        raise TokenError("token_invalid")


def _user_id(token: Token) -> int:
    return _whole_number(token[_USER_CLAIM])


def _generation(token: Token) -> int:
    return _whole_number(token.get(_GENERATION_CLAIM, 0))


def _whole_number(claim: Any) -> int:
    try:
        return int(claim)
    except (TypeError, ValueError, OverflowError) as exc:
        raise TokenError("token_invalid") from exc


def _report_reuse(user_id: int) -> None:
    logger.warning(
        "a refresh token of user %d was used twice; its log-in is revoked", user_id
    )


def _new_refresh(user: User, used: str = "") -> RefreshToken:
    """Return a new refresh token; `used` is the id of the one that it replaces."""
    token = RefreshToken()
    token["jti"] = revocation.new_jti(used)
    token[_USER_CLAIM] = str(user.pk)
    token[_GENERATION_CLAIM] = user.token_generation
    OutstandingToken.objects.create(
        user=user,
        jti=token["jti"],
        created_at=token.current_time,
        expires_at=datetime_from_epoch(token["exp"]),
    )
    return token


def _pair(refresh: RefreshToken) -> TokenPair:
    return TokenPair(access=str(refresh.access_token), refresh=str(refresh))
