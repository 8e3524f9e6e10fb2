"""The logging configuration: lines for people or programs, and a filter of floods."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from llmchat import log_fields

INTERVAL_S = 60.0

# The first words of what uvicorn and websockets log when a client violates the
# protocol. The server is fine, and anybody can cause these lines.
_PEERS_FAULTS = (
    "Invalid HTTP request received",
    "This server is not a proxy",
    "The URL or the headers of the request are too long",
    "Too many requests are waiting",
    "Unsupported upgrade request",
    "Invalid UTF-8 sequence received",
    "opening handshake failed",
    "parser failed",
    "ASGI callable returned without completing handshake",
    "Too many connections",
)


class PeersFault(logging.Filter):
    """Limit what is logged about clients that violate the protocol.

    One line of each kind passes per minute, as a warning without a traceback. It says
    how many such lines were left out before it.
    """

    def __init__(
        self, name: str = "", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(name)
        self._clock = clock
        self._next: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record; shorten one about a client's fault."""
        kind = _kind_of(record)
        if kind is None:
            return True
        now = self._clock()
        if now < self._next.get(kind, now):
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False
        self._next[kind] = now + INTERVAL_S
        self._mark(record, self._left_out.pop(kind, 0))
        return True

    def _mark(self, record: logging.LogRecord, left_out: int) -> None:
        text = record.getMessage().strip().rstrip(".")
        if record.exc_info and (cause := record.exc_info[1]):
            text += f" ({type(cause).__name__})"
        if left_out:
            text += f" ({left_out} more since the last such line)"
        record.msg, record.args = text, ()
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"


def _kind_of(record: logging.LogRecord) -> str | None:
    if record.name.startswith("django.security."):
        return record.name  # anybody's forms: without a token, with too many fields
    if record.name == "channels_redis.pubsub":
        return record.name  # each second without Redis, which is reported elsewhere
    if record.name != "uvicorn.error":
        return None
    text = str(record.msg)
    return next((kind for kind in _PEERS_FAULTS if text.startswith(kind)), None)


class JsonLines(logging.Formatter):
    """A formatter that writes a line of JSON: the record, and what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        """Called by logging with each record."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **log_fields.current(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configuration(level: str, *, for_people: bool) -> dict[str, Any]:
    """Return the `LOGGING` setting; `level` is for the program's own loggers.

    `for_people`: plain lines, JSON otherwise.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
            "json": {"()": "serving.logs.JsonLines"},
        },
        "filters": {"peers_fault": {"()": "serving.logs.PeersFault"}},
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "line" if for_people else "json",
                # On the handler: a logger's filters do not see its children's records.
                "filters": ["peers_fault"],
            }
        },
        "root": {"handlers": ["console"], "level": "WARNING"},
        "loggers": {
            "llmchat": {"level": level},
            "accounts": {"level": level},
            "serving": {"level": level},
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            # Rejected requests are normal for an API.
            "django.request": {"level": "ERROR"},
            # Anybody can send a wrong `Host`.
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            "django.server": {"handlers": [], "propagate": True},
            # They log the URLs that they request, and a URL can contain a key.
            "httpx": {"level": "WARNING"},
            "httpcore": {"level": "WARNING"},
            "aiohttp": {"level": "WARNING"},
            # While its collector is away, it logs every attempt, with its URL.
            "opentelemetry": {"level": "ERROR"},
            # It logs every attempt; llmchat.outages logs an outage once.
            "psycopg.pool": {"level": "ERROR"},
        },
    }
