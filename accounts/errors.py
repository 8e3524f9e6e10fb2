"""The errors of log-ins and tokens, as clients see them.

    AccountError
    ├── TokenError          token_missing, token_expired, token_invalid
    ├── ScopeError          scope_missing
    ├── KeysError           too_many_keys
    ├── CredentialsError    invalid_credentials
    │   └── PasswordError   the same, for a user who is logged in
    ├── LastSuperuserError  last_superuser
    ├── UnfinishedError     deletion_unfinished
    ├── RegistrationError   registration_disabled
    └── AttemptsError       rate_limited

Each error has a stable `code` for programs, a `text` for people, the HTTP `status` and,
if waiting helps, the seconds to wait as `retry_after`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

TokenCode = Literal["token_missing", "token_expired", "token_invalid"]

_TOKEN_TEXTS: dict[TokenCode, str] = {
    "token_missing": "Authentication token missing",
    "token_expired": "Authentication token expired",
    "token_invalid": "Authentication token invalid",
}


class AccountError(Exception):
    """The base of this package's errors."""

    code: str
    text: str
    status: ClassVar[int]
    retry_after: int | None = None

    def __str__(self) -> str:
        return self.text


class TokenError(AccountError):
    """A missing, expired or invalid token.

    All invalid tokens have the same text, so that it does not reveal whether the
    signature, the type or the user was wrong.
    """

    status = 401

    def __init__(self, code: TokenCode) -> None:
        super().__init__(code)
        self.code = code
        self.text = _TOKEN_TEXTS[code]


class ScopeError(AccountError):
    """An API key lacks `scope`; None if no API key is allowed to do this."""

    code = "scope_missing"
    status = 403

    def __init__(self, scope: str | None) -> None:
        super().__init__(scope)
        self.text = (
            "API keys cannot do this; use an access token"
            if scope is None
            else f"The API key lacks the scope {scope}"
        )


class KeysError(AccountError):
    """The user already has as many API keys as allowed."""

    code = "too_many_keys"
    text = "You have too many API keys; revoke one first"
    status = 409


class CredentialsError(AccountError):
    """An unknown username or a wrong password."""

    code = "invalid_credentials"
    text = "Username or password is wrong"
    status = 401


class PasswordError(CredentialsError):
    """The password is not that of the user whose token was sent."""

    text = "The password is wrong"


class LastSuperuserError(AccountError):
    """The last superuser cannot leave: nobody else could give rights."""

    code = "last_superuser"
    text = "You are the last superuser: make another user a superuser first"
    status = 409


class UnfinishedError(AccountError):
    """A deletion needs more than one request; the next one continues it."""

    code = "deletion_unfinished"
    status = 503
    retry_after = 1

    def __init__(self, done: int, left: int) -> None:
        super().__init__(done, left)
        what = "conversation" if done == 1 else "conversations"
        self.text = f"{done:,} {what} deleted, {left:,} left: delete again to continue"


class RegistrationError(AccountError):
    """Registration is disabled."""

    code = "registration_disabled"
    text = "Registration is switched off on this server"
    status = 403


class AttemptsError(AccountError):
    """Too many attempts to log in; `retry_after` says when to retry."""

    code = "rate_limited"
    text = "Rate limit exceeded"
    status = 429

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after
