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
# Some gateways stream under the name of JSON; no JSON begins like a field of an event.
_EVENT_BEGINS = {b"d", b"e", b"i", b"r", b":"}
_BY_FIRST_BYTE = {b"{": BodyKind.JSON, b"[": BodyKind.JSON, b"<": BodyKind.FOREIGN}


def kind_of(content_type: str, head: bytes) -> BodyKind:
    """Return the kind that the header names, else what the body begins like."""
    media_type = content_type.partition(";")[0].strip().lower()
    named = _BY_TYPE.get(media_type)
    if named not in (None, BodyKind.JSON):
        return named
    first = head.lstrip()[:1]
    if not first:
        return BodyKind.UNKNOWN
    if named is BodyKind.JSON and first not in _EVENT_BEGINS:
        return named
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
