"""A limit on request bodies, as an ASGI wrapper.

Django's ASGI handler writes the whole body to a temporary file before any view or
middleware runs, however long it is and whether or not its length was announced.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from serving import cors
from serving.errors import shaped
from serving.request_id import identified

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_FIELDS = {"error": "The request is too large", "code": "payload_too_large"}


class _TooLongError(Exception):
    """The body exceeds the limit; never leaves this module."""


class BodyLimit:
    """Respond 413 to a request whose body is longer than `limit()` bytes.

    The limit is read again for each request, as other settings are.
    """

    def __init__(self, application: Application, limit: Callable[[], int]) -> None:
        self._application = application
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and count the bytes that it receives."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        limit = self._limit()
        if _announced_length(scope) > limit:
            await _refuse(scope, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _TooLongError
            return message

        try:
            await self._application(scope, counted, send)
        except _TooLongError:
            await _refuse(scope, send)


def _announced_length(scope: Scope) -> int:
    length = _header(scope, b"content-length")
    return int(length[:20]) if length.isdecimal() and length.isascii() else 0


async def _refuse(scope: Scope, send: Send) -> None:
    # The rest of the body is still arriving, so the connection cannot be reused.
    answer = json.dumps(shaped(scope["path"], 413, _FIELDS)).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(answer)).encode()),
        (b"connection", b"close"),
        # Neither a view nor any middleware sees the request, so the id is added here.
        (b"x-request-id", identified(_header(scope, b"x-request-id")).encode()),
        *_cors_headers(scope),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def _cors_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    if not cors.is_open(scope["path"]):
        return []
    origin = _header(scope, b"origin")
    return [
        (name.encode(), value.encode("latin-1")) for name, value in cors.headers(origin)
    ]


def _header(scope: Scope, wanted: bytes) -> str:
    sent = (value for name, value in scope["headers"] if name == wanted)
    return next(sent, b"").decode("latin-1")
