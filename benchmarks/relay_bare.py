"""What `relay` is compared to: the least that streams an answer to a WebSocket.

Plain httpx and an ASGI application of one function. It has no accounts, no database,
no limits, no retries and no protocol, and a stream of it cannot be cancelled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

URL = os.environ.get("OPENAI_BASE_URL", "") + "/chat/completions"
_client = httpx.AsyncClient(
    timeout=None, limits=httpx.Limits(max_connections=None), trust_env=False
)


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Relay one answer after another."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        body = json.loads(message["text"])
        async with _client.stream("POST", URL, json=body) as response:
            async for line in response.aiter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                choice = json.loads(line[6:])["choices"][0]
                if token := choice["delta"].get("content"):
                    await send(
                        {
                            "type": "websocket.send",
                            "text": json.dumps({"token": token}),
                        }
                    )
        await send({"type": "websocket.send", "text": '{"done": true}'})
