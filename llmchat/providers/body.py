"""What kind of body a successful response has: not every one is a stream."""

from __future__ import annotations

from enum import Enum

from .errors import ProviderError
from .text import decode_json

MAX_WHOLE_BYTES = 8 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024


class BodyKind(Enum):
    """How to read a body; UNKNOWN until its first byte that is not blank."""

    EVENTS = "events"
    JSON = "json"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


_BY_TYPE = {
    "text/event-stream": BodyKind.EVENTS,
    "application/json": BodyKind.JSON,
    "text/html": BodyKind.FOREIGN,
    "application/x-ndjson": BodyKind.FOREIGN,
}
_BY_FIRST_BYTE = {b"{": BodyKind.JSON, b"[": BodyKind.JSON, b"<": BodyKind.FOREIGN}


def kind_of(content_type: str, head: bytes) -> BodyKind:
    """Return the kind that the header names, else what the body begins like."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _BY_TYPE:
        return _BY_TYPE[media_type]
    first = head.lstrip()[:1]
    if not first:
        return BodyKind.UNKNOWN
    return _BY_FIRST_BYTE.get(first, BodyKind.EVENTS)


def parse_json(body: bytes) -> object:
    """Decode a body that came in one piece, blank lines before it or not.

    Raises:
        ProviderError: it is empty or no JSON.
    """
    try:
        return decode_json(body)
    except ValueError as exc:
        detail = "body is not JSON" if body.strip() else "empty body"
        raise ProviderError(detail, retryable=True) from exc
