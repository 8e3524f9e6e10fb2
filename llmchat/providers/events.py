"""The JSON of one event, and the events in a stream that are not JSON.

Gateways keep a connection open with events of their own, such as `data: ping`, which
are skipped like comments. An event that reports a failure is never skipped, and neither
is JSON that breaks off: it means that the stream was cut.
"""

from __future__ import annotations

import re

from .classify import error_in
from .errors import ProviderError
from .text import decode_json

_MAX_NOISE_BYTES = 256
_FAILURE = re.compile(rb"error|exception|fail|abort|denied|time(d )?.?out|<html", re.I)


def decode_event(name: bytes, data: bytes) -> dict[str, object] | None:
    """Return the object in an event, None if there is none to read.

    Raises:
        ProviderError: the event reports a failure, or its JSON is broken.
    """
    if not data.strip():
        return None
    try:
        event = decode_json(data)
    except ValueError as exc:
        if name != b"error" and _is_noise(data):
            return None
        raise ProviderError("event is not JSON", retryable=True) from exc
    if isinstance(event, dict):
        return event
    # Gemini's OpenAI-compatible endpoint wraps its errors in a list.
    if name == b"error" or isinstance(event, list) or not _is_noise(data):
        raise error_in(event)
    return None


def _is_noise(data: bytes) -> bool:
    if len(data) > _MAX_NOISE_BYTES or data.lstrip().startswith(b"{"):
        return False
    return not _FAILURE.search(data)
