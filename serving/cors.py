"""CORS of the REST API, for responses of Django and of the wrappers around it.

Tokens are sent in the `Authorization` header, so cross-origin credentials are not
allowed. Origins are matched as for sockets; only the exposed headers differ.
"""

from __future__ import annotations

from llmchat.api import origins
from llmchat.realtime.cors import HttpOptions, cors_headers

_PATHS = ("/auth/", "/llm/", "/v1/")
# The headers that pages may send; OpenAI's SDK in a browser needs some of them.
_REQUEST_HEADERS = (
    *("Authorization", "Content-Type", "If-None-Match", "Last-Event-ID"),
    *("Idempotency-Key", "OpenAI-Organization", "OpenAI-Project"),
    *(
        f"X-Stainless-{name}"
        for name in (
            *("Arch", "Custom-Poll-Interval", "Helper-Method", "Lang", "OS"),
            *("Package-Version", "Poll-Helper", "Retry-Count", "Runtime"),
            *("Runtime-Version", "Timeout"),
        )
    ),
)
_RESPONSE_HEADERS = (
    *("ETag", "Retry-After", "X-Request-ID", "X-Should-Retry"),
    *("X-LLMChat-Conversation-ID", "X-LLMChat-Cost"),
)


def is_open(path: str) -> bool:
    """Return whether pages of other origins are allowed to request this path at all."""
    return path.startswith(_PATHS)


def headers(origin: str | None) -> list[tuple[str, str]]:
    """Return the CORS headers that every response to this origin has."""
    options = HttpOptions(cors_origins=origins.allowed_origins())
    found = [
        (name.decode(), value.decode("latin-1"))
        for name, value in cors_headers(origin, options)
    ]
    if any(name == "access-control-allow-origin" for name, _ in found):
        exposed = ", ".join(_RESPONSE_HEADERS)
        found.append(("access-control-expose-headers", exposed))
    return found


def preflight() -> list[tuple[str, str]]:
    """Return the additional headers of a preflight response to an allowed origin."""
    return [
        ("access-control-allow-methods", "GET, POST, PATCH, DELETE"),
        ("access-control-allow-headers", ", ".join(_REQUEST_HEADERS)),
        ("access-control-max-age", "3600"),
    ]
