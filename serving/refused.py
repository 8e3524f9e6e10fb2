"""Responses to requests that the application never sees: too many, or broken ones.

They are written directly to the connection, in JSON, with the CORS headers that every
other response to a page has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url

from serving.mount import without

Headers = Iterable[tuple[bytes, bytes]]

_SOCKETS = "/socket.io/"
_RETRY_S = 5
_BUSY = {
    "error": "The server has too many connections; try again in a moment",
    "code": "server_busy",
    "retryAfter": _RETRY_S,
}


class Asked:
    """The head of a request that is refused, as far as it has arrived."""

    def __init__(self) -> None:
        self._parser = HttpRequestParser(self)
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._is_whole = False

    def feed(self, data: bytes) -> bool:
        """Parse what has arrived; return whether there is nothing more to wait for."""
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._is_whole = True
        return self._is_whole

    def on_url(self, url: bytes) -> None:
        """Called with a piece of the address."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called with each header."""
        self._headers[name.lower()] = value

    def on_message_complete(self) -> None:
        """Called with the end of the request."""
        # Not earlier: closing with an unread body resets the connection, and the client
        # would lose the response.
        self._is_whole = True

    @property
    def path(self) -> str:
        """The path, "" if none has arrived."""
        return path_of(self._url)

    @property
    def origin(self) -> str:
        """The origin of the page that sent the request, "" if no page did."""
        return self._headers.get(b"origin", b"").decode("latin-1")

    @property
    def is_preflight(self) -> bool:
        """Whether it is the request with which a browser asks for permission."""
        named = b"access-control-request-method" in self._headers
        return named and self._parser.get_method() == b"OPTIONS"


def busy(asked: Asked) -> bytes:
    """Return the response of a server with too many connections.

    A preflight is answered as usual: a page can read why the request that follows is
    refused, but of a refused preflight it would learn only that it is not allowed.
    """
    if asked.is_preflight:
        return preflight(asked)
    retry = ("retry-after", str(_RETRY_S))
    return response(503, _BUSY, path=asked.path, origin=asked.origin, more=[retry])


def preflight(asked: Asked) -> bytes:
    """Return the response to a preflight request."""
    from serving import cors

    headers = _cors(asked.path, asked.origin)
    if any(name == "access-control-allow-origin" for name, _ in headers):
        headers += cors.preflight()
    return _response(204, headers)


def bad_request(reason: str, url: bytes, headers: Headers) -> bytes:
    """Return the response to a request that cannot be read."""
    fields = {"error": reason, "code": "bad_request"}
    origin = dict(headers).get(b"origin", b"").decode("latin-1")
    return response(400, fields, path=path_of(url), origin=origin)


def response(
    status: int,
    fields: dict[str, Any],
    *,
    path: str,
    origin: str,
    more: Iterable[tuple[str, str]] = (),
) -> bytes:
    """Return an error response as bytes; it is the last on its connection."""
    # Imported here: it needs Django's applications, which are loaded after this module.
    from serving.errors import shaped

    body = json.dumps(shaped(path, status, fields)).encode()
    headers = [("content-type", "application/json"), *more, *_cors(path, origin)]
    return _response(status, headers, body)


def path_of(url: bytes) -> str:
    """Return the path of an address in the form of the routes, "" if there is none."""
    try:
        path = (parse_url(url).path or b"").decode("latin-1")
    except HttpParserError:
        return ""
    return without(settings.FORCE_SCRIPT_NAME or "", path)


def _cors(path: str, origin: str) -> list[tuple[str, str]]:
    from serving import cors

    is_open = cors.is_open(path) or path.startswith(_SOCKETS)
    return cors.headers(origin) if is_open else []


def _response(status: int, headers: list[tuple[str, str]], body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if status != HTTPStatus.NO_CONTENT:
        lines.append(f"content-length: {len(body)}")
    lines += ["connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
