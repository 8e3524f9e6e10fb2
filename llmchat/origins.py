"""Which pages may talk to the server: the one rule for REST and for sockets."""

from __future__ import annotations

from urllib.parse import urlsplit

from llmchat import conf

_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def is_allowed(origin: str) -> bool:
    """Tell whether pages of another origin may read the server's answers.

    The allowed ones are configured; in debug those of every loopback port are
    added, because a page under development is served from a port of its own.
    """
    settings = conf.get()
    if origin.lower() in settings.cors_allowed_origins:
        return True
    return settings.debug_origins and _is_loopback(origin)


def _is_loopback(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.hostname in _LOOPBACK_HOSTS
