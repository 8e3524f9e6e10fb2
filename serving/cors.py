"""CORS of the REST API, for the answers of Django and for those given before it.

Tokens travel in a header of their own, so no credentials are allowed across origins.
The rule is that of the sockets; only what is exposed differs.
"""

from __future__ import annotations

from llmchat.api import origins
from llmchat.realtime.cors import HttpOptions, cors_headers

_PATHS = ("/auth/", "/llm/")


def is_open(path: str) -> bool:
    """Tell whether pages of other origins may call this address at all."""
    return path.startswith(_PATHS)


def headers(origin: str | None) -> list[tuple[str, str]]:
    """Return the headers that every answer to this origin carries."""
    options = HttpOptions(cors_origins=origins.allowed_origins())
    found = [
        (name.decode(), value.decode("latin-1"))
        for name, value in cors_headers(origin, options)
    ]
    if any(name == "access-control-allow-origin" for name, _ in found):
        found.append(("access-control-expose-headers", "Retry-After"))
    return found


def preflight() -> list[tuple[str, str]]:
    """Return what a preflight of an allowed origin is told beside them."""
    return [
        ("access-control-allow-methods", "GET, POST, PATCH, DELETE"),
        ("access-control-allow-headers", "Authorization, Content-Type"),
        ("access-control-max-age", "3600"),
    ]
