"""The example of docs/socketio.md runs unchanged."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import socketio
import uvicorn
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import re_path

from llmchat.realtime import Namespace, Socket
from tests.support.live import free_port

PAGE = Path(__file__).resolve().parents[2] / "docs" / "socketio.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


async def test_example_runs() -> None:
    scope: dict[str, Any] = {"__name__": "example"}
    for block in blocks():
        exec(compile(block, str(PAGE), "exec", dont_inherit=True), scope)
    routes = {
        "http": URLRouter([re_path(r"^socket\.io/$", scope["polling"].as_asgi())]),
        "websocket": URLRouter(
            [re_path(r"^socket\.io/$", scope["websocket"].as_asgi())]
        ),
    }
    port = free_port()
    config = uvicorn.Config(
        ProtocolTypeRouter(routes),
        port=port,
        log_level="error",
        lifespan="off",
        ws="websockets-sansio",
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    speaker, listener = socketio.AsyncClient(), socketio.AsyncClient()
    heard: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
    listener.on("said", lambda *args: heard.put_nowait(args), namespace="/lobby")
    async with asyncio.timeout(20):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.02)
        for client in (speaker, listener):
            await client.connect(f"http://127.0.0.1:{port}", namespaces=["/lobby"])
        assert await speaker.call("say", "hello", namespace="/lobby") == 2
        text, _offset = await heard.get()
        assert text == "hello"
        for client in (speaker, listener):
            await client.disconnect()
        server.should_exit = True
        await serving
        scope["socketio"].shutdown()


def test_first_example_is_ten_lines() -> None:
    lines = [line for line in blocks()[0].splitlines() if line.strip()]
    assert len(lines) <= 10


def test_every_public_method_is_on_the_page() -> None:
    text = PAGE.read_text()
    internal = {"handler", "enter", "exit", "register", "forget", "absent"}
    internal |= {"is_absent", "handlers", "serial"}
    for kind in (Namespace, Socket):
        for name in vars(kind):
            attribute = getattr(kind, name)
            public = not name.startswith("_") and name not in internal
            if public and (callable(attribute) or isinstance(attribute, property)):
                assert f"{name}" in text, name
