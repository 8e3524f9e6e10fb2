"""Clients written by others, against the acceptance application, on each transport."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import socketio

from tests.support.live import ROOT
from tests.support.wire import LIMIT_S, Wire
from tests.support.wire_fixtures import ON_WORKERS_TOO

pytestmark = ON_WORKERS_TOO

PACKAGES = [
    "socket.io-client-3.0",
    "socket.io-client-4.0",
    "socket.io-client-4.4",
    "socket.io-client-4.7",
    "socket.io-client",
]


@pytest.mark.parametrize("package", PACKAGES)
async def test_stock_client_over_each_transport(
    wire: Wire,
    package: str,
) -> None:
    process = await asyncio.create_subprocess_exec(
        "node",
        str(ROOT / "tests/js/interop.cjs"),
        f"http://127.0.0.1:{wire.port}",
        package,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    results = json.loads(output)
    transports = {name: result.pop("transport") for name, result in results.items()}
    assert transports == {
        "polling": "polling",
        "websocket": "websocket",
        "default": "websocket",
    }
    for result in results.values():
        assert result == {
            "sameId": True,
            "answer": [1, "é", {"a": [True, None]}],
            "binary": True,
            "plain": True,
            "question": "how!",
            "namespace": "/chat",
            "refused": ["unauthorized", {"code": "E_AUTH", "n": 1}],
            "kicked": "io server disconnect",
            "closed": "io client disconnect",
            "killed": "io server disconnect",
            "heard": [0, 1, 2],
        }


@pytest.mark.parametrize(
    "transports", [["polling"], ["websocket"], None], ids=["polling", "ws", "default"]
)
async def test_python_client_over_each_transport(
    wire: Wire,
    transports: list[str] | None,
) -> None:
    client = socketio.AsyncClient(reconnection=False)
    received: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
    client.on("burst", lambda *args: received.put_nowait(args))
    client.on("question", lambda text: text + "!")
    client.on("answered", lambda *args: received.put_nowait(args))
    await client.connect(
        f"http://127.0.0.1:{wire.port}",
        namespaces=["/", "/chat"],
        transports=transports,
    )
    try:
        [who] = [await client.call("whoami", timeout=LIMIT_S)]
        expected = "polling" if transports == ["polling"] else "websocket"
        assert (who["id"], who["transport"]) == (client.get_sid(), expected)
        answer = await client.call("echo", ("é", b"\x00\xff"), timeout=LIMIT_S)
        assert list(answer) == ["é", b"\x00\xff"]
        there = await client.call("whoami", namespace="/chat", timeout=LIMIT_S)
        assert there["nsp"] == "/chat"
        await client.emit("burst", 50)
        async with asyncio.timeout(LIMIT_S):
            numbers = [(await received.get())[0] for _ in range(50)]
            assert numbers == list(range(50))
            await client.emit("ask", "how")
            assert (await received.get())[0] == "how!"
    finally:
        await client.disconnect()
