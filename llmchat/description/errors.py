"""The statuses of the error codes, from the tables that define the errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

from accounts.errors import AccountError, TokenCode, TokenError
from llmchat.errors import REFUSALS
from llmchat.providers.errors import ProviderError

# What REST framework and the server around it respond, before or after a view.
_FRAMEWORK = {
    "not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "server_busy": 503,
}
ANY_ROUTE = (
    "bad_request",
    "not_acceptable",
    "internal_error",
    "database_unavailable",
    "server_busy",
)
WITH_TOKEN = ("token_missing", "token_expired", "token_invalid", "scope_missing")
WITH_BODY = ("payload_too_large", "unsupported_media_type")
WITH_PATH = ("not_found",)


def by_status(codes: Iterable[str]) -> dict[int, list[str]]:
    """Return the statuses of these codes in order, each with its codes.

    Raises: KeyError, if a code does not exist.
    """
    found: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        found.setdefault(STATUSES[code], []).append(code)
    return dict(sorted(found.items()))


def _below(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for kind in base.__subclasses__():
        yield from _below(kind)


def _statuses(base: type[Exception]) -> dict[str, int]:
    kinds = [kind for kind in _below(base) if isinstance(vars(kind).get("code"), str)]
    return {vars(kind)["code"]: kind.status for kind in kinds}  # type: ignore[attr-defined]


PROVIDER_CODES = tuple(sorted(set(_statuses(ProviderError)) - {"bad_request"}))
STATUSES = {
    **_FRAMEWORK,
    **_statuses(ProviderError),
    **_statuses(AccountError),
    **dict.fromkeys(get_args(TokenCode), TokenError.status),
    **{code: status for code, (status, _) in REFUSALS.items()},
}
