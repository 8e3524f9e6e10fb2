"""The peer in Python: the same events on python-socketio, uvicorn and httpx."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import httpx
import jwt
import socketio

_limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
_client = httpx.AsyncClient(limits=_limits, timeout=None, trust_env=False)
_server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")
application = socketio.ASGIApp(_server)


@_server.event
async def connect(sid: str, environ: dict[str, Any], auth: dict[str, Any]) -> None:
    """Let in whoever has a token."""
    jwt.decode(auth["token"], os.environ["SECRET"], algorithms=["HS256"])


@_server.on("llm:chat:stream")
async def chat_stream(sid: str, turn: dict[str, Any]) -> None:
    """Stream the answer to a turn."""
    _server.start_background_task(_answer, sid, turn)


async def _answer(sid: str, turn: dict[str, Any]) -> None:
    common = {"sessionId": turn["sessionId"], "provider": turn["provider"]}
    await _emit(sid, "start", common)
    text = ""
    count = 0
    body = {"model": turn["model"], "messages": turn["messages"], "stream": True}
    async with _client.stream("POST", os.environ["PROVIDER"], json=body) as response:
        async for line in response.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            data = json.loads(line[6:])
            count = (data.get("usage") or {}).get("completion_tokens", count)
            choices = data["choices"]
            token = choices[0]["delta"].get("content") if choices else None
            if token:
                text += token
                fields = {"sessionId": turn["sessionId"], "token": token}
                await _emit(sid, "token", fields)
    await _emit(sid, "done", {**common, "fullResponse": text, "tokenCount": count})


async def _emit(sid: str, name: str, fields: dict[str, Any]) -> None:
    stamped = {**fields, "timestamp": time.time_ns() // 1_000_000}
    await _server.emit(f"llm:stream:{name}", stamped, to=sid)
