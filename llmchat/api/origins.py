"""Which pages may talk to the server: the one rule for REST and for sockets."""

from __future__ import annotations

import re

from llmchat import conf
from llmchat.realtime import origin_is_allowed

_LOOPBACK = re.compile(
    r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE
)


def allowed_origins() -> tuple[str | re.Pattern[str], ...]:
    """Return the origins, and patterns of them, whose pages may read our answers.

    They are configured; in debug every port of this machine is added, because a
    page under development is served from a port of its own.
    """
    settings = conf.get()
    if settings.debug_origins:
        return (*settings.cors_allowed_origins, _LOOPBACK)
    return settings.cors_allowed_origins


def is_allowed(origin: str) -> bool:
    """Tell whether an `Origin` header names one of the allowed origins."""
    return origin_is_allowed(origin, allowed_origins())
