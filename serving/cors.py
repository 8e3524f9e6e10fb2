"""CORS of the REST API, for responses by Django and by the wrappers around it.

Tokens are sent in the `Authorization` header, so cross-origin credentials are not
allowed. Origins are matched as for sockets; only the exposed headers differ.
"""

from __future__ import annotations

from llmchat.api import origins
from llmchat.realtime.cors import HttpOptions, cors_headers

_PATHS = ("/auth/", "/llm/")
_REQUEST_HEADERS = ("Authorization", "Content-Type", "If-None-Match", "Last-Event-ID")


def is_open(path: str) -> bool:
    """Return whether pages of other origins may request this path at all."""
    return path.startswith(_PATHS)


def headers(origin: str | None) -> list[tuple[str, str]]:
    """Return the headers of every response to this origin."""
    options = HttpOptions(cors_origins=origins.allowed_origins())
    found = [
        (name.decode(), value.decode("latin-1"))
        for name, value in cors_headers(origin, options)
    ]
    if any(name == "access-control-allow-origin" for name, _ in found):
        found.append(
            ("access-control-expose-headers", "ETag, Retry-After, X-Request-ID")
        )
    return found


def preflight() -> list[tuple[str, str]]:
    """Return the further headers of a preflight response to an allowed origin."""
    return [
        ("access-control-allow-methods", "GET, POST, PATCH, DELETE"),
        (
            "access-control-allow-headers",
            "Authorization, Content-Type, If-None-Match, Last-Event-ID",
        ),
        ("access-control-max-age", "3600"),
    ]
