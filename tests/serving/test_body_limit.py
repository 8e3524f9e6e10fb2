"""The limit on request bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serving.body_limit import BodyLimit

ALLOWED = "https://app.example.com"


class Exchange:
    """One request as a server would pass it on: its messages, and the responses."""

    def __init__(self, *chunks: bytes, announced: str | None = None) -> None:
        self.scope: dict[str, Any] = {"type": "http", "path": "/llm/x", "headers": []}
        if announced is not None:
            self.scope["headers"] = [(b"content-length", announced.encode())]
        self._chunks = list(chunks)
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        chunk = self._chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(self._chunks)}

    async def send(self, message: Any) -> None:
        self.sent.append(message)


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    """Read the whole body, as Django does, and respond with its length."""
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


@pytest.mark.parametrize(
    ("exchange", "status"),
    [
        (Exchange(b"12345", b"67890"), 200),
        (Exchange(b"12345", b"678901"), 413),
        (Exchange(b"", announced="11"), 413),
        (Exchange(b"", announced="9" * 5000), 413),
        (Exchange(b"", announced="-1"), 200),
        (Exchange(b"12345678901", announced="1"), 413),
    ],
)
async def test_a_body_is_read_up_to_the_limit(exchange: Exchange, status: int) -> None:
    await BodyLimit(_echo, lambda: 10)(exchange.scope, exchange.receive, exchange.send)

    assert exchange.sent[0]["status"] == status
    if status == 413:
        assert json.loads(exchange.sent[1]["body"])["code"] == "payload_too_large"


@pytest.mark.parametrize(
    ("path", "origin", "allowed"),
    [
        ("/llm/chat", ALLOWED, True),
        ("/auth/token", ALLOWED, True),
        ("/auth/token", "https://evil.example", False),
        ("/admin/login/", ALLOWED, False),
    ],
)
async def test_a_page_elsewhere_can_read_that_its_body_is_too_long(
    settings: Any, path: str, origin: str, allowed: bool
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"cors_allowed_origins": (ALLOWED,)}
    exchange = Exchange(b"", announced="11")
    exchange.scope["path"] = path
    exchange.scope["headers"].append((b"origin", origin.encode()))

    await BodyLimit(_echo, lambda: 10)(exchange.scope, exchange.receive, exchange.send)

    headers = dict(exchange.sent[0]["headers"])
    assert (b"access-control-allow-origin" in headers) is allowed
    assert (b"vary" in headers) is not path.startswith("/admin")


@pytest.mark.parametrize(
    ("sent", "is_kept"), [(b"abc-1", True), (b"a b", False), (b"", False)]
)
async def test_what_is_too_long_keeps_the_id_of_its_request(
    sent: bytes, is_kept: bool
) -> None:
    exchange = Exchange(b"", announced="11")
    exchange.scope["headers"].append((b"x-request-id", sent))

    await BodyLimit(_echo, lambda: 10)(exchange.scope, exchange.receive, exchange.send)

    told = dict(exchange.sent[0]["headers"])[b"x-request-id"]
    assert told
    assert (told == sent) is is_kept


async def test_a_websocket_passes_the_body_limit_by() -> None:
    seen = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    exchange = Exchange()
    await BodyLimit(application, lambda: 0)(
        {"type": "websocket"}, exchange.receive, exchange.send
    )

    assert seen == ["websocket"]
