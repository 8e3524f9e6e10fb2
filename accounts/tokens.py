"""Tokens: from a person to a token, and from a token back to the person.

REST and the Socket.IO CONNECT ask the same function, so that a token lets its
bearer in at both doors or at neither.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from rest_framework_simplejwt import exceptions as jwt_exceptions
from rest_framework_simplejwt.token_blacklist.models import (
    BlacklistedToken,
    OutstandingToken,
)
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token
from rest_framework_simplejwt.utils import datetime_from_epoch

from accounts import revocation
from accounts.errors import CredentialsError, TokenError
from accounts.models import User
from accounts.remembered import remembered

logger = logging.getLogger(__name__)

_USER_CLAIM = "user_id"


class _PresentedToken(RefreshToken):
    """A refresh token as a client brings it.

    Whether it has been used up is left to the claim on it, which alone can tell for
    sure when several requests bring it at once.
    """

    def check_blacklist(self) -> None:
        """Called while the token is decoded."""


class _UsedUpError(Exception):
    """The token has been used before; never leaves this module."""


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The two tokens of a log-in, encoded."""

    access: str
    refresh: str


def bearer_token(header: str | None) -> str:
    """Return the token of an `Authorization` header, empty where it holds none.

    A header of another scheme says nothing about a token.

    Raises: TokenError, where the scheme is Bearer and what follows is no token.
    """
    scheme, _, token = (header or "").strip().partition(" ")
    if scheme.lower() != "bearer":
        return ""
    token = token.strip()
    if not token or " " in token:
        raise TokenError("token_invalid")
    return token


def user_for_token_sync(raw: object) -> tuple[User, float]:
    """Return the active user of an access token and the token's end.

    The end is in seconds since the Unix epoch.

    Raises: TokenError.
    """
    token = verify(raw)
    return remembered_user(token) or active_user(token), float(token["exp"])


def verify(raw: object) -> Token:
    """Return an access token that is signed and has not ended, without its user.

    `raw` is what the client sent and may be anything; None and an empty string are a
    missing token.

    Raises: TokenError.
    """
    if raw is None or raw == "":
        raise TokenError("token_missing")
    return _decode(AccessToken, raw)


def remembered_user(token: Token) -> User | None:
    """Return the user of a token if it was active a moment ago; reads nothing."""
    return remembered.find(_user_id(token))


def active_user(token: Token) -> User:
    """Return the active user of a token from the database.

    Raises: TokenError.
    """
    return remembered.read(lambda: _active_user(token))


def issue_tokens(*, user: User) -> TokenPair:
    """Return fresh tokens for a user who has just proved who they are.

    Raises: CredentialsError, where the password has been changed meanwhile.
    """
    with transaction.atomic():
        # Whoever changes the password waits, and then revokes these tokens, too.
        locked = User.objects.select_for_update(no_key=True)
        if locked.filter(pk=user.pk, password=user.password).first() is None:
            raise CredentialsError
        return _pair(_new_refresh(user))


def rotate_refresh_token(*, raw: object) -> TokenPair:
    """Trade a refresh token for a new pair; the old one is used up by that.

    One that comes a second time has been stolen from somebody, who may hold the
    newer one, so that all of its family is revoked.

    Raises: TokenError, also for every one but the first of several requests that
        bring the same token at once.
    """
    token = _decode(_PresentedToken, raw)
    try:
        with transaction.atomic():
            user = _active_user(token, lock=True)
            _use_up(token, user)
            return _pair(_new_refresh(user, revocation.family_of(token["jti"])))
    except _UsedUpError as exc:
        _revoke_family(token)
        raise TokenError("token_invalid") from exc


def revoke_refresh_token(*, raw: object) -> None:
    """Use a refresh token up, so that no new access token comes of it.

    Raises: TokenError.
    """
    token = _decode(_PresentedToken, raw)
    try:
        with transaction.atomic():
            user = User.objects.filter(pk=token[_USER_CLAIM]).first()
            _use_up(token, user)
    except _UsedUpError as exc:
        _revoke_family(token)
        raise TokenError("token_invalid") from exc


_UNUSABLE = (
    jwt_exceptions.TokenError,
    KeyError,
    OverflowError,  # an end that no calendar holds
    TypeError,
    ValueError,
)


def _decode(kind: type[Token], raw: object) -> Token:
    if not isinstance(raw, str):
        raise TokenError("token_invalid")
    try:
        token = kind(raw)  # type: ignore[arg-type]  # the annotation is upstream's slip
        token[_USER_CLAIM]
        # The leeway is for clocks that are ahead, not for tokens that have ended.
        has_expired = float(token["exp"]) <= time.time()
    except jwt_exceptions.ExpiredTokenError as exc:
        raise TokenError("token_expired") from exc
    except _UNUSABLE as exc:
        raise TokenError("token_invalid") from exc
    if has_expired:
        raise TokenError("token_expired")
    return token


def _active_user(token: Token, *, lock: bool = False) -> User:
    users = User.objects.all()
    if lock:
        users = users.select_for_update(no_key=True)
    try:
        return users.get(pk=_user_id(token), is_active=True)
    except (User.DoesNotExist, OverflowError) as exc:
        raise TokenError("token_invalid") from exc


def _user_id(token: Token) -> int:
    try:
        return int(token[_USER_CLAIM])
    except (TypeError, ValueError, OverflowError) as exc:
        raise TokenError("token_invalid") from exc


def _use_up(token: Token, user: User | None) -> None:
    """Claim a refresh token; the unique constraint lets exactly one caller win.

    Raises: _UsedUpError.
    """
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
    except IntegrityError as exc:
        raise _UsedUpError from exc


def _revoke_family(token: Token) -> None:
    user_id = int(token[_USER_CLAIM])
    logger.warning(
        "a refresh token of user %d came a second time: its family is revoked", user_id
    )
    revocation.revoke_family(token["jti"], user_id)


def _new_refresh(user: User, family: str = "") -> RefreshToken:
    token = RefreshToken()
    token["jti"] = revocation.new_jti(family)
    token[_USER_CLAIM] = str(user.pk)
    OutstandingToken.objects.create(
        user=user,
        jti=token["jti"],
        created_at=token.current_time,
        expires_at=datetime_from_epoch(token["exp"]),
    )
    return token


def _pair(refresh: RefreshToken) -> TokenPair:
    return TokenPair(access=str(refresh.access_token), refresh=str(refresh))
