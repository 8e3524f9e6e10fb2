"""The opening handshake of a WebSocket, judged from what httptools has parsed.

uvicorn writes the request out again, and `websockets` parses it in Python, which is
most of the work of a handshake. Whatever is unusual is still left to them.
"""

from __future__ import annotations

import re
from typing import Any

from websockets.datastructures import Headers
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS, Response
from websockets.utils import accept_key

# 16 bytes in base64, without stray bits in the last character.
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
_CONNECTION = frozenset((b"upgrade", b"keep-alive, upgrade"))
# Headers that ask for more than a WebSocket, or announce a body.
_UNUSUAL = frozenset(
    (b"content-length", b"transfer-encoding", b"sec-websocket-protocol")
)
# `websockets` limits each line, and here all of them together are a line at most.
_MOST_BYTES = MAX_LINE_LENGTH - len(b"GET  HTTP/1.1\r\n")


def response_to(scope: Any, url: bytes) -> Response | None:
    """Return the response that accepts a handshake; None if it is not a plain one.

    The response is that of `websockets`, to which uvicorn adds the headers of the
    application. Extensions are never negotiated.
    """
    headers = scope["headers"]
    named = dict(headers)
    key = named.get(b"sec-websocket-key", b"")
    is_plain = (
        scope["method"] == "GET"
        and scope["http_version"] == "1.1"
        and named.get(b"upgrade", b"").lower() == b"websocket"
        and named.get(b"connection", b"").lower() in _CONNECTION
        and named.get(b"sec-websocket-version") == b"13"
        and _KEY.fullmatch(key) is not None
        and named.keys().isdisjoint(_UNUSUAL)
        and len(named) == len(headers) <= MAX_NUM_HEADERS
        and sum(map(len, (url, *named, *named.values()))) <= _MOST_BYTES
        and url.isascii()
    )
    return _accepting(key.decode()) if is_plain else None


def _accepting(key: str) -> Response:
    headers = Headers()
    headers["Date"] = ""  # uvicorn deletes it
    headers["Upgrade"] = "websocket"
    headers["Connection"] = "Upgrade"
    headers["Sec-WebSocket-Accept"] = accept_key(key)
    return Response(101, "Switching Protocols", headers)
