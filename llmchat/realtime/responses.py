"""An HTTP answer of the real-time server, and the messages that send it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .cors import Headers, HttpOptions, compress, cors_headers
from .engineio.errors import Refusal, RequestError

TEXT = b"text/plain; charset=UTF-8"
# Some browsers offer a plain-text answer to a POST as a download.
HTML = b"text/html"
JSON = b"application/json"
# For clients of a server that is about to stop: they retry after these seconds, over a
# new connection, which may lead to another server.
_ELSEWHERE = ((b"retry-after", b"5"), (b"connection", b"close"))


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer, without the headers that every answer has."""

    status: int
    body: bytes = b""
    content_type: bytes | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    may_compress: bool = False


def error_response(error: RequestError) -> Response:
    """Return the answer to a request that is refused."""
    content = {"code": error.code, "message": error.message}
    body = json.dumps(content, separators=(",", ":")).encode()
    headers = _ELSEWHERE if error.refusal is Refusal.SHUTTING_DOWN else ()
    return Response(error.status, body, JSON, headers)


def http_messages(
    response: Response, request_headers: Mapping[str, str], http: HttpOptions
) -> list[dict[str, Any]]:
    """Return the ASGI messages that answer an HTTP request."""
    body, encoding = response.body, Headers()
    if response.may_compress:
        accepted = request_headers.get("accept-encoding", "")
        body, encoding = compress(body, accepted, http)
    headers = [
        *_content_type(response),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *http.extra_headers,
        *cors_headers(request_headers.get("origin"), http),
        *encoding,
        *response.headers,
    ]
    return [
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": headers,
        },
        {"type": "http.response.body", "body": body},
    ]


def denial_messages(
    response: Response, request_headers: Mapping[str, str], http: HttpOptions
) -> list[dict[str, Any]]:
    """Return the ASGI messages that answer a WebSocket handshake with an error."""
    headers = [
        *_content_type(response),
        *http.extra_headers,
        *cors_headers(request_headers.get("origin"), http),
        *response.headers,
    ]
    return [
        {
            "type": "websocket.http.response.start",
            "status": response.status,
            "headers": headers,
        },
        {"type": "websocket.http.response.body", "body": response.body},
    ]


def _content_type(response: Response) -> Headers:
    if response.content_type is None:
        return []
    return [(b"content-type", response.content_type)]
