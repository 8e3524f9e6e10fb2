"""The errors that a client may see: stable codes, REST statuses and texts.

    ChatError                   why a request or a stream failed, for the client
      made by `refusal(code)`   rejected by this server, from the table below
      made by `from_provider()` a `ProviderError`, translated

A text is one short English sentence for people. It never contains a traceback, a key
or a provider's message.
"""

from __future__ import annotations

from llmchat.providers.errors import ProviderError

# code: (REST status, text)
REFUSALS: dict[str, tuple[int, str]] = {
    "bad_request": (400, "The request is not valid"),
    "token_expired": (401, "Authentication token expired"),
    "token_invalid": (401, "Authentication token invalid"),
    "permission_denied": (403, "You may not do this"),
    "provider_not_found": (404, "Provider not found"),
    "conversation_not_found": (404, "Conversation not found"),
    "message_not_found": (404, "The conversation has no question with this id"),
    "key_not_found": (404, "You have no API key with this id"),
    "stream_not_found": (404, "No stream with this sessionId is running"),
    "session_active": (409, "A stream with this sessionId is already running"),
    "conversation_active": (409, "An answer in this conversation is still running"),
    "cancelled": (409, "The answer was cancelled"),
    "rate_limited": (429, "Rate limit exceeded"),
    "too_many_sockets": (429, "You have too many open connections"),
    "too_many_streams": (429, "You have too many answers in progress"),
    "budget_exceeded": (429, "The budget is used up"),
    "internal_error": (500, "Something went wrong on the server"),
    "key_not_configured": (503, "{label} API key not configured"),
    "address_not_configured": (503, "The address of {label} is not configured"),
    "price_not_configured": (
        503,
        "{label} has no price yet, so a budget in US dollars does not allow it",
    ),
    "draining": (503, "The server is about to restart; try again in a moment"),
    "interrupted": (503, "The server stopped before this answer was complete"),
    "not_ready": (503, "Not ready"),
    "database_unavailable": (503, "The database is not available; try again soon"),
}


class ChatError(Exception):
    """Why a request or a stream failed, as the client sees it.

    `retry_after` is in whole seconds, None if a retry is not known to help.
    """

    def __init__(
        self, code: str, text: str, status: int, *, retry_after: int | None = None
    ) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.status = status
        self.retry_after = retry_after


# For refusals that pass by themselves, at an unknown time: after how many seconds to
# retry.
_SOON_S = {"too_many_streams": 5, "too_many_sockets": 5}
_DATABASE_RETRY_S = 5


def refusal(
    code: str,
    *,
    text: str | None = None,
    retry_after: int | None = None,
    label: str = "",
) -> ChatError:
    """Return the error of a code in `REFUSALS`; `text` replaces the default text."""
    status, default_text = REFUSALS[code]
    if retry_after is None:
        retry_after = _SOON_S.get(code)
    return ChatError(
        code, text or default_text.format(label=label), status, retry_after=retry_after
    )


def unavailable() -> ChatError:
    """Return the refusal of a request that needs the database while it is down."""
    return refusal("database_unavailable", retry_after=_DATABASE_RETRY_S)


def from_provider(exc: ProviderError) -> ChatError:
    """Return the client's error for a provider's error."""
    retry_after = None if exc.retry_after is None else max(1, round(exc.retry_after))
    return ChatError(exc.code, exc.text, exc.status, retry_after=retry_after)
