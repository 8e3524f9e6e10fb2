"""The project's own settings: names, defaults and the one place that reads them.

`config/settings.py` fills the `LLMCHAT` dictionary from the environment, with the
defaults of `Conf`. All other code calls `get()` each time it needs a value, so that
tests can override the setting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.conf import settings


@dataclass(frozen=True, slots=True)
class Conf:
    """The values of the `LLMCHAT` setting, with units in the names.

    Secrets are left out of the `repr`, which might end up in logs.
    """

    messages_per_minute: int = 60
    max_streams_per_user: int = 4
    registration: bool = False
    login_attempts_per_minute: int = 10
    connect_timeout_s: float = 5.0
    first_token_timeout_s: float = 120.0
    idle_timeout_s: float = 60.0
    total_timeout_s: float = 600.0
    ping_interval_ms: int = 25_000
    ping_timeout_ms: int = 20_000
    max_payload_bytes: int = 1_000_000
    recovery_window_s: float = 120.0
    keep_alive_s: float = 75.0
    request_timeout_s: float = 30.0
    max_connections: int = 5000
    max_sockets_per_user: int = 50
    drain_s: float = 5.0
    metrics_allow: tuple[str, ...] = ()
    metrics_token: str = field(default="", repr=False)
    otel: bool = False
    cors_allowed_origins: tuple[str, ...] = ()
    debug_origins: bool = False
    encryption_keys: tuple[str, ...] = field(default=(), repr=False)
    openai_api_key: str = field(default="", repr=False)
    anthropic_api_key: str = field(default="", repr=False)
    gemini_api_key: str = field(default="", repr=False)
    deepseek_api_key: str = field(default="", repr=False)
    openai_base_url: str = "https://api.openai.com/v1"
    anthropic_base_url: str = "https://api.anthropic.com"
    gemini_base_url: str = "https://generativelanguage.googleapis.com"
    deepseek_base_url: str = "https://api.deepseek.com"


# The values that were read last, and the `Conf` made from them.
_last: tuple[dict[str, Any], Conf] = ({}, Conf())


def get() -> Conf:
    """Return the current settings; called several times in every request."""
    global _last
    values, conf = _last
    if values != settings.LLMCHAT:
        values = dict(settings.LLMCHAT)
        conf = Conf(**values)
        _last = (values, conf)
    return conf
