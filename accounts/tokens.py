"""Tokens: from a person to a token, and from a token back to the person.

REST and the Socket.IO CONNECT ask the same function, so that a token lets its
bearer in at both doors or at neither.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from channels.db import database_sync_to_async
from django.db import IntegrityError, transaction
from rest_framework_simplejwt import exceptions as jwt_exceptions
from rest_framework_simplejwt.token_blacklist.models import (
    BlacklistedToken,
    OutstandingToken,
)
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token
from rest_framework_simplejwt.utils import datetime_from_epoch

from accounts.errors import TokenError
from accounts.models import User

logger = logging.getLogger(__name__)

_USER_CLAIM = "user_id"


class _PresentedToken(RefreshToken):
    """A refresh token as a client brings it.

    Whether it has been used up is left to the claim on it, which alone can tell for
    sure when several requests bring it at once.
    """

    def check_blacklist(self) -> None:
        """Called while the token is decoded."""


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

    The end is in seconds since the Unix epoch. `raw` is what the client sent and
    may be anything; None and an empty string are a missing token.

    Raises: TokenError.
    """
    if raw is None or raw == "":
        raise TokenError("token_missing")
    token = _decode(AccessToken, raw)
    return _active_user(token), float(token["exp"])


user_for_token = database_sync_to_async(user_for_token_sync)


def issue_tokens(*, user: User) -> TokenPair:
    """Return fresh tokens for a user who has just proved who they are."""
    return _pair(RefreshToken.for_user(user))


def rotate_refresh_token(*, raw: object) -> TokenPair:
    """Trade a refresh token for a new pair; the old one is used up by that.

    Raises: TokenError, also for every one but the first of several requests that
        bring the same token at once.
    """
    token = _decode(_PresentedToken, raw)
    with transaction.atomic():
        user = _active_user(token)
        _use_up(token, user)
        return issue_tokens(user=user)


def revoke_refresh_token(*, raw: object) -> None:
    """Use a refresh token up, so that no new access token comes of it.

    Raises: TokenError.
    """
    token = _decode(_PresentedToken, raw)
    with transaction.atomic():
        user = User.objects.filter(pk=token[_USER_CLAIM]).first()
        _use_up(token, user)


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
        float(token["exp"])
        token[_USER_CLAIM]
    except jwt_exceptions.ExpiredTokenError as exc:
        raise TokenError("token_expired") from exc
    except _UNUSABLE as exc:
        raise TokenError("token_invalid") from exc
    return token


def _active_user(token: Token) -> User:
    try:
        return User.objects.get(pk=token[_USER_CLAIM], is_active=True)
    except (User.DoesNotExist, TypeError, ValueError, OverflowError) as exc:
        raise TokenError("token_invalid") from exc


def _use_up(token: Token, user: User | None) -> None:
    """Claim a refresh token; the unique constraint lets exactly one caller win."""
    outstanding, _ = OutstandingToken.objects.get_or_create(
        jti=token["jti"],
        defaults={
            "user": user,
            "created_at": token.current_time,
            "token": str(token),
            "expires_at": datetime_from_epoch(token["exp"]),
        },
    )
    try:
        with transaction.atomic():
            BlacklistedToken.objects.create(token=outstanding)
    except IntegrityError as exc:
        logger.warning(
            "a refresh token of user %s came a second time", outstanding.user_id
        )
        raise TokenError("token_invalid") from exc


def _pair(refresh: RefreshToken) -> TokenPair:
    return TokenPair(access=str(refresh.access_token), refresh=str(refresh))
