"""Which pages may talk to the server: one rule for REST and sockets alike."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

from llmchat import conf
from llmchat.realtime import origin_is_allowed

_LOOPBACK = re.compile(
    r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def allowed_origins() -> tuple[str | re.Pattern[str], ...]:
    """Return the origins, and patterns of origins, whose pages may read responses.

    They are configured; in debug every port of this machine is added, because a
    page under development is served from a port of its own.
    """
    settings = conf.get()
    configured = _compiled(settings.cors_allowed_origins)
    return (*configured, _LOOPBACK) if settings.debug_origins else configured


def is_allowed(origin: str) -> bool:
    """Return whether an `Origin` header names one of the allowed origins."""
    return origin_is_allowed(origin, allowed_origins())


def is_own(origin: str, host: str) -> bool:
    """Return whether an `Origin` is that of the server's own pages, by the `Host`.

    TLS may have ended at a proxy, so the scheme says nothing. If the proxy has left the
    port out of `Host`, the port of the page says nothing either.
    """
    try:
        page, server = urlsplit(origin), urlsplit(f"//{host}")
        page_port, server_port = page.port, server.port
    except ValueError:
        return False
    if page.scheme not in _DEFAULT_PORTS or origin != f"{page.scheme}://{page.netloc}":
        return False
    if not page.hostname or "@" in page.netloc or page.hostname != server.hostname:
        return False
    if page_port is None:
        return server_port in (None, *_DEFAULT_PORTS.values())
    return server_port in (None, page_port)


@lru_cache(maxsize=8)
def _compiled(origins: tuple[str, ...]) -> tuple[str | re.Pattern[str], ...]:
    return tuple(_pattern(origin) if "*" in origin else origin for origin in origins)


def _pattern(origin: str) -> re.Pattern[str]:
    """Return a pattern for an origin with a wildcard: `https://*.example.com`."""
    scheme, _, rest = origin.partition("://*")
    names = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
    return re.compile(f"{re.escape(scheme)}://{names}{re.escape(rest)}")
