"""What kind of body a successful response has: not every one is a stream."""

from __future__ import annotations

from enum import Enum

from .errors import ProviderError
from .text import decode_json

MAX_WHOLE_BYTES = 8 * 1024 * 1024
MAX_BLANK_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"


class BodyKind(Enum):
    """How to read a body; UNKNOWN until its first byte that is not blank."""

    EVENTS = "events"
    JSON = "json"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


_EVENT_BEGINS = {b"d", b"e", b"i", b"r", b":"}


def kind_of(content_type: str, head: bytes) -> BodyKind:
    """Return the kind that the header names, or else the kind that the body looks like.

    Some gateways label their streams as JSON, and some scripts as HTML, which is their
    default. Neither JSON nor an HTML page begins like a field of an event.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "text/event-stream":
        return BodyKind.EVENTS
    if _BOM.startswith(head):
        return BodyKind.UNKNOWN
    first = head.removeprefix(_BOM).lstrip()[:1]
    if not first:
        return BodyKind.UNKNOWN
    if first in _EVENT_BEGINS:
        return BodyKind.EVENTS
    if media_type == "application/json":
        return BodyKind.JSON
    if media_type == "application/x-ndjson":
        return BodyKind.FOREIGN
    if first in (b"{", b"["):
        return BodyKind.JSON
    if first == b"<" or media_type == "text/html":
        return BodyKind.FOREIGN
    return BodyKind.EVENTS


def parse_json(body: bytes) -> object:
    """Decode a body that came in one piece, with or without blank lines before it.

    Raises:
        ProviderError: it is empty or not JSON.
    """
    try:
        return decode_json(body.removeprefix(_BOM))
    except ValueError as exc:
        detail = "body is not JSON" if body.strip() else "empty body"
        raise ProviderError(detail, retryable=True) from exc
