"""The entries of the routes below /auth/."""

from __future__ import annotations

from accounts.serializers import (
    CredentialsSerializer,
    NewPasswordSerializer,
    PasswordSerializer,
    RefreshSerializer,
    RegistrationSerializer,
)
from llmchat.description.operation import JSON, Answer, Operation
from llmchat.description.shapes import ref

_TAG = "Accounts"
_PAIR = Answer("A new pair of tokens", {JSON: ref("Tokens")})

OPERATIONS = {
    "POST /auth/token": Operation(
        summary="Log in",
        tag=_TAG,
        is_open=True,
        body=CredentialsSerializer,
        example={"username": "demo", "password": "THE PRINTED PASSWORD"},
        answers={200: _PAIR},
        codes=("invalid_credentials", "rate_limited"),
    ),
    "POST /auth/token/refresh": Operation(
        summary="Renew the tokens",
        tag=_TAG,
        details="A refresh token works once. If you send it again within 90 seconds, "
        "you get another pair, because the first response may have been lost. After "
        "that, or once one of those pairs has been used, sending it again revokes all "
        "tokens of its log-in, because it may have been stolen.",
        is_open=True,
        body=RefreshSerializer,
        example={"refresh": "YOUR REFRESH TOKEN"},
        answers={200: _PAIR},
        codes=("token_expired", "token_invalid"),
    ),
    "POST /auth/token/revoke": Operation(
        summary="Revoke a refresh token",
        tag=_TAG,
        is_open=True,
        body=RefreshSerializer,
        example={"refresh": "YOUR REFRESH TOKEN"},
        answers={200: Answer("Revoked", {JSON: ref("Nothing")})},
        codes=("token_expired", "token_invalid"),
    ),
    "POST /auth/register": Operation(
        summary="Create an account",
        tag=_TAG,
        details="Only if the server allows registration (`LLMCHAT_REGISTRATION`).",
        is_open=True,
        body=RegistrationSerializer,
        example={"username": "ann", "password": "a long one that nobody can guess"},
        answers={
            201: Answer("The user and a pair of tokens", {JSON: ref("UserWithTokens")})
        },
        codes=("registration_disabled", "rate_limited"),
    ),
    "GET /auth/me": Operation(
        summary="Show the user that the token belongs to",
        tag=_TAG,
        answers={200: Answer("The user", {JSON: ref("User")})},
    ),
    "DELETE /auth/me": Operation(
        summary="Delete the account and everything that belongs to it",
        tag=_TAG,
        body=PasswordSerializer,
        example={"password": "YOUR PASSWORD"},
        answers={204: Answer("Deleted", {})},
        codes=(
            *("invalid_credentials", "rate_limited", "last_superuser"),
            "deletion_unfinished",
        ),
    ),
    "POST /auth/password": Operation(
        summary="Set a new password",
        tag=_TAG,
        details="All earlier tokens stop working; the response has a new pair.",
        body=NewPasswordSerializer,
        example={"current": "YOUR PASSWORD", "new": "a long one that nobody can guess"},
        answers={200: _PAIR},
        codes=("invalid_credentials", "rate_limited"),
    ),
}
