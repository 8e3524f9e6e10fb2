"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.

The codes are those of this server's other APIs. `param` names the field that is wrong,
if one is.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from llmchat.answers.events import Cancelled, Failed
from llmchat.errors import ChatError, refusal

PREFIX = "/v1"
_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.CONFLICT: "conflict_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}
# The SDKs retry what fails with 409, 429 or 5xx, unless they are told not to. These
# errors do not pass soon, or the server itself has retried the provider already.
_REPEATING_IS_NO_HELP = frozenset(
    {
        "address_not_configured",
        "budget_exceeded",
        "cancelled",
        "content_filtered",
        "empty_answer",
        "key_not_configured",
        "local_model_missing",
        "price_not_configured",
        "provider_auth",
        "provider_quota",
    }
)
NO_RETRY = {"x-should-retry": "false"}


class ParameterError(ChatError):
    """A field of the request is wrong; `param` is its path, as OpenAI writes it."""

    def __init__(self, error: ChatError, param: str) -> None:
        super().__init__(error.code, error.text, error.status)
        self.param = param


def wrong(param: str, text: str) -> ParameterError:
    """Return the refusal of a field; `text` continues the sentence after its name."""
    error = refusal("bad_request", text=f"{param} {text}")
    return ParameterError(error, param)


def is_below(path: str) -> bool:
    """Return whether a path belongs to the OpenAI-compatible API."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def error_object(
    status: int, text: str, code: str, param: str | None = None
) -> dict[str, Any]:
    """Return the object of an error, as OpenAI's API writes it."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    fields = {"message": text, "type": _TYPES.get(HTTPStatus(status), kind)}
    return {"error": fields | {"param": param, "code": code}}


def object_of(error: ChatError) -> dict[str, Any]:
    """Return the object of one of this server's errors."""
    param = getattr(error, "param", None)
    return error_object(error.status, error.text, error.code, param)


def headers_of(error: ChatError, *, partial: str = "") -> dict[str, str]:
    """Return the headers that say whether and when to retry.

    An answer that broke off after its first word (`partial`) is billed, so the SDKs are
    told not to repeat it by themselves.
    """
    if partial or error.code in _REPEATING_IS_NO_HELP:
        return NO_RETRY
    if error.retry_after is None:
        return {}
    return {"Retry-After": str(error.retry_after)}


def error_of(end: Failed | Cancelled) -> ChatError:
    """Return why an answer is not whole."""
    return end.error if isinstance(end, Failed) else refusal("cancelled")
