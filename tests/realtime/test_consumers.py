"""The consumers and the servers below, in memory."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from llmchat.realtime import HttpOptions, abort, make_not_found


async def answers_to(consumer: Any, scope: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a WebSocket consumer sends to a client that leaves when refused."""
    messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect"}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await consumer(scope, receive, send)
    return sent


async def test_a_websocket_elsewhere_is_refused_with_the_projects_headers() -> None:
    header = (b"x-content-type-options", b"nosniff")
    consumer = make_not_found(HttpOptions(extra_headers=(header,))).as_asgi()
    scope = {
        "type": "websocket",
        "path": "/elsewhere",
        "headers": [],
        "extensions": {"websocket.http.response": {}},
    }

    start, body = await answers_to(consumer, scope)

    assert start["status"] == 400
    assert header in start["headers"]
    assert body["body"] == b'{"code":3,"message":"Not found"}'


async def test_an_unknown_server_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Unheard:
        async def send(self, message: Any) -> None:
            raise AssertionError

    with caplog.at_level(logging.WARNING):
        abort(Unheard().send)
        abort(Unheard().send)

    assert caplog.text.count("unknown ASGI server") == 1
    assert "Unheard" in caplog.text
