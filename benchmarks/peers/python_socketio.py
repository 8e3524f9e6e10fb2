"""The peer in Python: the same events on python-socketio, uvicorn and httpx."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import jwt
import socketio

Emit = Callable[[str, dict[str, Any]], Awaitable[None]]

_limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
_client = httpx.AsyncClient(limits=_limits, timeout=None, trust_env=False)
_server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")
_sockets = socketio.ASGIApp(_server)
_running: dict[tuple[str, str], asyncio.Task[None]] = {}


@_server.event
async def connect(sid: str, environ: dict[str, Any], auth: dict[str, Any]) -> None:
    """Accept a client that has a valid token."""
    _check(auth["token"])


@_server.on("llm:chat:stream")
async def chat_stream(sid: str, turn: dict[str, Any]) -> None:
    """Stream the answer to a turn."""

    async def emit(name: str, fields: dict[str, Any]) -> None:
        await _server.emit(f"llm:stream:{name}", fields, to=sid)

    key = (sid, turn["sessionId"])
    task = _running[key] = asyncio.create_task(_answer(turn, emit))
    task.add_done_callback(lambda _: _running.pop(key))


@_server.on("llm:stream:cancel")
async def cancel(sid: str, fields: dict[str, Any]) -> None:
    """Cancel a stream."""
    if task := _running.get((sid, fields["sessionId"])):
        task.cancel()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application: Socket.IO, and the same answers over HTTP."""
    if scope["type"] == "http" and scope["path"] == "/llm/chat":
        await _chat(scope, receive, send)
    else:
        await _sockets(scope, receive, send)


async def _chat(scope: Any, receive: Any, send: Any) -> None:
    header = dict(scope["headers"])[b"authorization"].decode()
    _check(header.removeprefix("Bearer "))
    turn = json.loads(await _body(receive))
    is_stream = turn.get("stream", False)
    kind = b"text/event-stream" if is_stream else b"application/json"
    head = {"type": "http.response.start", "status": 200}
    headers = [(b"content-type", kind)]

    async def emit(name: str, fields: dict[str, Any]) -> None:
        data = json.dumps(fields, separators=(",", ":"))
        if is_stream:
            if name == "start":
                await send({**head, "headers": headers})
            event = f"event: llm:stream:{name}\ndata: {data}\n\n".encode()
            await send(_part(event, more=name in {"start", "token"}))
        elif name == "done":
            length = (b"content-length", str(len(data)).encode())
            await send({**head, "headers": [*headers, length]})
            await send(_part(data.encode(), more=False))

    await _answer(turn, emit)


async def _body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def _part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def _check(token: str) -> None:
    jwt.decode(token, os.environ["SECRET"], algorithms=["HS256"])


async def _answer(turn: dict[str, Any], emit: Emit) -> None:
    """Call `emit` for each event of a stream: its start, its tokens, its one end."""
    common = {"sessionId": turn["sessionId"], "provider": turn["provider"]}
    text = ""
    try:
        await emit("start", _stamped(common))
        async for token in _tokens(turn):
            text += token
            await emit("token", _stamped({**common, "token": token}))
    except asyncio.CancelledError:
        await emit("cancelled", _stamped(common))
        return
    await emit("done", _stamped({**common, "fullResponse": text}))


async def _tokens(turn: dict[str, Any]) -> AsyncIterator[str]:
    body = {"model": turn["model"], "messages": turn["messages"], "stream": True}
    async with _client.stream("POST", os.environ["PROVIDER"], json=body) as response:
        async for line in response.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            choices = json.loads(line[6:])["choices"]
            token = choices[0]["delta"].get("content") if choices else None
            if token:
                yield token


def _stamped(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "timestamp": time.time_ns() // 1_000_000}
