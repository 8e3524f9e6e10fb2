"""From a provider's error body to this project's errors, for all providers at once.

The bodies differ less than their documentation: an object `error` with some of
`type`, `code`, `status`, `message`, `details`. Their identifiers cannot be trusted on
their own (one provider answers 402 with the code "invalid_request_error", several
answer 200). So problems of quotas and keys are looked for first, then those of models
and lengths, and the status decides the rest.

Messages are read for their wording and then dropped: nothing of them is kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from .errors import (
    ContentFilteredError,
    ContextTooLongError,
    EmptyAnswerError,
    ForbiddenError,
    ModelNotFoundError,
    ProviderAuthError,
    ProviderError,
    ProviderQuotaError,
    ProviderRateLimitError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from .hints import bad_request
from .text import decode_json

_AUTH = {
    "invalid_api_key",
    "authentication_error",
    "unauthenticated",
    "api_key_invalid",
}
_FORBIDDEN = {"permission_error", "permission_denied"}
_QUOTA = {
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "enforced_spend_limit_reached",
    "billing_error",
    "billing_not_active",
    "billing_hard_limit_reached",
    "exceeded_current_quota_error",
    "failed_precondition",
}
_MODEL = {
    "model_not_found",
    "not_found_error",
    "not_found",
    "model_not_exist",
    "model_decommissioned",
    "deploymentnotfound",
}
# A gateway's key may be barred from some models. LiteLLM has reported that with 401.
_MODEL_DENIED = {
    f"{whose}_model_access_denied" for whose in ("key", "team", "user", "org")
}
_CONTEXT = {
    "context_length_exceeded",
    "exceed_context_size_error",
    "request_too_large",
}
_MODERATION = {"flagged_input", "flagged", "reasons"}
_FILTER = {"content_filter", "content_policy_violation", "invalid_prompt", "bio_policy"}
_RATE = {"rate_limit_error", "rate_limit_exceeded", "slow_down", "resource_exhausted"}
_OVERLOAD = {"overloaded_error", "server_is_overloaded", "unavailable"}
_SLOW = {"timeout_error", "deadline_exceeded"}
_BROKEN = {"api_error", "server_error", "internal", "internal_server_error"}
_BAD = {"invalid_request_error", "invalid_argument", "bad_request"}

# Words that make a key rest for everybody count only at the beginning of a message:
# further on there may be something that a user wrote, such as the name of a model. Some
# messages begin with that name, so these words do not count in a message about a model.
_QUOTA_WORDS = re.compile(
    r"insufficient (account )?(balance|quota|credit|fund)"
    r"|(your )?credit balance is too low"
    r"|(you )?exceeded your current quota"
    r"|(you have )?reached your specified api usage limit"
    r"|your prepayment credits are depleted"
    r"|your project has exceeded its (monthly )?spending cap"
    r"|your team (\S{1,64} )?has either used all available credits"
    r"|your newly created teams? doesn't have any credits"
)
_KEY_WORDS = re.compile(
    r"(method doesn't allow )?unregistered callers"
    r"|(your )?api key (is invalid|not valid|was reported as leaked)"
    r"|incorrect api key provided"
    r"|this organization has been disabled"
)
_MODEL_WORDS = re.compile(
    r"model not exist"
    r"|model\b.{0,120}\b(not found|does not exist|no longer available|deprecated)"
    r"|(unknown|retired|no such) model"
    r"|invalid model( name| identifier)?(:| passed| ['\"`])"
    r"|not found the model|is not a valid model|no endpoints found for"
    r"|only supported in v1/responses|not a chat model"
)
_CONTEXT_WORDS = re.compile(
    r"prompt is too long"
    r"|maximum (context|prompt) length"
    r"|input token count .{0,40}exceeds"
    r"|exceeds? (the )?(available |maximum )?context"
    r"|context (length|size|window) ((has been )?exceeded|is too)"
    r"|fit in context length|larger context length|>= n_ctx"
)
# OpenAI's words for when thinking has used up all tokens before any text was written.
_EATEN_WORDS = re.compile(r"could not finish the message because max_tokens")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.\-]{1,48}")
_FINAL_STATUSES = {501, 505}
_MAX_RETRY_AFTER_S = 86_400.0


@dataclass(slots=True)
class Complaint:
    """A parsed error body: status, all identifiers in it, the message in lower case."""

    status: int
    names: set[str] = field(default_factory=set)
    words: str = ""
    param: str = ""
    retry_after: float | None = None
    per_day: bool = False
    per_minute: bool = False
    flagged: bool = False

    def has(self, names: set[str]) -> bool:
        return not self.names.isdisjoint(names)


def error_from_response(
    status: int, headers: Mapping[str, str], body: bytes
) -> ProviderError:
    """Return the error that a response with a failure status means."""
    try:
        decoded = decode_json(body)
    except ValueError:
        decoded = None  # HTML of a proxy, plain text, nothing
    complaint = _read(decoded, status)
    complaint.retry_after = retry_after(headers) or complaint.retry_after
    if not complaint.names and decoded is None:
        complaint.words = ""
    error = _judge(complaint)
    if headers.get("x-should-retry") == "false":
        error.retryable = False
    ident = headers.get("x-request-id") or headers.get("request-id") or ""
    if _IDENTIFIER.fullmatch(ident):
        error.log_detail += f" request {ident}"
    return error


def error_in(decoded: object) -> ProviderError:
    """Return the error that an object inside a successful response means."""
    return _judge(_read(decoded, 200))


def is_error(decoded: object) -> bool:
    """Whether a decoded body is an error, alone or in a list of one."""
    if isinstance(decoded, list) and len(decoded) == 1:
        decoded = decoded[0]
    return isinstance(decoded, dict) and bool(decoded.get("error"))


def is_nameless_error(decoded: Mapping[str, object]) -> bool:
    """Whether an object without `error` is an error: FastAPI's, or that of old vLLM."""
    if "choices" in decoded:
        return False
    return decoded.get("object") == "error" or bool(decoded.get("detail"))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the headers ask to wait, None if they do not say.

    Milliseconds, seconds with a fraction, and HTTP dates are understood; negative,
    infinite and absurd values are not believed.
    """
    if (delay := _seconds(headers.get("retry-after-ms"), unit=1000)) is not None:
        return delay
    value = headers.get("retry-after")
    if (delay := _seconds(value)) is not None or value is None:
        return delay
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return _believable((date - datetime.now(UTC)).total_seconds())


def _seconds(value: str | None, *, unit: int = 1) -> float | None:
    """Return a number of seconds, None if it is not believable.

    `unit` says how many units of `value` make a second: 1000 if in milliseconds.
    """
    try:
        return _believable(float(value or "") / unit)
    except ValueError:
        return None


def _believable(delay: float) -> float | None:
    return delay if math.isfinite(delay) and 0 <= delay <= _MAX_RETRY_AFTER_S else None


def _read(decoded: object, status: int) -> Complaint:
    complaint = Complaint(status)
    if isinstance(decoded, list) and decoded:
        decoded = decoded[0]
    if not isinstance(decoded, dict):
        return complaint
    error = decoded.get("error")
    if isinstance(error, dict):
        _read_fields(error, complaint)
    else:
        words = error or decoded.get("message") or decoded.get("detail")
        complaint.words = words.lower() if isinstance(words, str) else ""
        _read_code(decoded.get("code"), complaint)
    return complaint


def _read_fields(error: dict[str, object], complaint: Complaint) -> None:
    message = error.get("message")
    complaint.words = message[:4000].lower() if isinstance(message, str) else ""
    if _IDENTIFIER.fullmatch(param := str(error.get("param") or "")):
        complaint.param = param
    for name in ("type", "status", "code"):
        _read_code(error.get(name), complaint)
    for metadata in _dicts(error.get("metadata")):
        complaint.flagged |= not _MODERATION.isdisjoint(metadata)
    for detail in _dicts(error.get("details")):
        _read_code(detail.get("reason"), complaint)
        _read_code(detail.get("error_code"), complaint)
        if isinstance(delay := detail.get("retryDelay"), str):
            complaint.retry_after = _seconds(delay.removesuffix("s"))
        for violation in _dicts(detail.get("violations")):
            quota = str(violation.get("quotaId", ""))
            complaint.per_day |= "PerDay" in quota
            complaint.per_minute |= "PerMinute" in quota


def _read_code(value: object, complaint: Complaint) -> None:
    if isinstance(value, str) and _IDENTIFIER.fullmatch(value):
        complaint.names.add(value.lower())
    elif complaint.status == 200 and isinstance(value, int) and 400 <= value < 600:
        complaint.status = value  # an error's status inside a success


def _dicts(value: object) -> Iterator[dict[str, object]]:
    items = value if isinstance(value, list) else [value]
    return (item for item in items if isinstance(item, dict))


def _judge(complaint: Complaint) -> ProviderError:
    detail = " ".join((str(complaint.status), *sorted(complaint.names)))
    if complaint.param:
        detail += f" param {complaint.param}"
    wait = complaint.retry_after
    for judge in (_judge_key, _judge_request, _judge_right, _judge_moment):
        if (kind := judge(complaint)) is not None:
            return kind(detail, retry_after=wait)
    status = complaint.status
    if complaint.has(_BROKEN) or status >= 500 or status == 409:
        retryable = status not in _FINAL_STATUSES
        return ProviderError(detail, retryable=retryable, retry_after=wait)
    if status in (404, 405):
        return ProviderError(detail)  # not about a model, so about the address
    if 400 <= status < 500 or complaint.has(_BAD):
        return bad_request(detail, complaint.words)
    # An error of no known kind inside a successful response is mostly temporary.
    return ProviderError(detail, retryable=status == 200)


def _judge_key(complaint: Complaint) -> type[ProviderError] | None:
    if complaint.has({"model_not_found"}):
        return ModelNotFoundError  # sent with 403 if a project lacks the model
    if complaint.has(_MODEL_DENIED):
        return ForbiddenError
    if complaint.status == 402 or complaint.has(_QUOTA) or complaint.per_day:
        return ProviderQuotaError
    # One provider words a limit per minute like a quota; the details show which it is.
    may_be_money = not complaint.per_minute and complaint.retry_after is None
    words = "" if _MODEL_WORDS.search(complaint.words) else complaint.words
    if may_be_money and _QUOTA_WORDS.match(words):
        return ProviderQuotaError
    if complaint.status == 401 or complaint.has(_AUTH):
        return ProviderAuthError
    if complaint.status in (400, 403) and _KEY_WORDS.match(words):
        return ProviderAuthError
    return None


def _judge_request(complaint: Complaint) -> type[ProviderError] | None:
    if complaint.has(_FILTER) or (complaint.flagged and complaint.status == 403):
        return ContentFilteredError
    if complaint.status == 413 or complaint.has(_CONTEXT):
        return ContextTooLongError
    if complaint.status >= 500 or complaint.status == 429:
        return None
    if complaint.has(_MODEL) or _MODEL_WORDS.search(complaint.words):
        return ModelNotFoundError
    if _CONTEXT_WORDS.search(complaint.words):
        return ContextTooLongError
    return _EatenAnswerError if _EATEN_WORDS.search(complaint.words) else None


def _judge_right(complaint: Complaint) -> type[ProviderError] | None:
    if complaint.status in (403, 407) or complaint.has(_FORBIDDEN):
        return ForbiddenError
    return None


def _judge_moment(complaint: Complaint) -> type[ProviderError] | None:
    if complaint.status == 429 or complaint.has(_RATE):
        return ProviderRateLimitError
    if complaint.status in (503, 529) or complaint.has(_OVERLOAD):
        return ProviderUnavailableError
    if complaint.status in (408, 504, 522, 524) or complaint.has(_SLOW):
        return _SlowProviderError
    return None


class _EatenAnswerError(EmptyAnswerError):
    """The limit left no tokens for the answer, nor would it in the next attempt."""

    retryable = False


class _SlowProviderError(ProviderTimeoutError):
    """The provider's own timeout: unlike after ours, the request may be retried."""

    retryable = True
