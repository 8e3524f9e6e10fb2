"""A worker that is about to stop refuses to open sessions, and says why."""

from __future__ import annotations

import asyncio
import signal

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.conftest import StartServer
from tests.product.test_any_worker import beside, redis, upstream
from tests.product.test_leaving import shared
from tests.support.live import LiveServer
from tests.support.stock_client import connected_client

__all__ = ["redis", "shared", "upstream"]

ENDLESS = {"provider": "openai", "model": "scenario-endless"}
HANDSHAKE = "/socket.io/?EIO=4&transport="
TOLD = {"code": 4, "message": "Server shutting down"}
# The worker must first find out whether there is another one.
LIMIT_S = 8.0


async def opens_no_more(http: httpx.AsyncClient) -> httpx.Response:
    """Return the first refusal of a handshake."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            response = await http.get(f"{HANDSHAKE}polling")
            if not response.is_success:
                return response
            await asyncio.sleep(0.05)


async def by_websocket(server: LiveServer) -> InvalidStatus:
    url = server.url.replace("http", "ws", 1)
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{url}{HANDSHAKE}websocket").__aenter__()
    return refused.value


async def test_handshakes_are_sent_elsewhere_with_503(
    start_server: StartServer, shared: dict[str, str]
) -> None:
    leaving = start_server("uvicorn", shared)
    staying = start_server("uvicorn", beside(leaving, shared))
    account = leaving.account()
    origin = {"Origin": leaving.url}
    async with (
        connected_client(leaving.url, account.access) as busy,
        httpx.AsyncClient(base_url=leaving.url, headers=origin) as http,
    ):
        await busy.start("one", "Go", **ENDLESS)
        await busy.event("llm:stream:token", "one")
        leaving.process.send_signal(signal.SIGTERM)
        polling = await opens_no_more(http)
        websocket = await by_websocket(leaving)
    assert (polling.status_code, polling.json()) == (503, TOLD)
    assert polling.headers["retry-after"] == "5"
    assert polling.headers["connection"] == "close"
    assert websocket.response.status_code == 503
    assert websocket.response.headers["retry-after"] == "5"
    assert (await by_get(staying)).status_code == 200
    for server in (leaving, staying):
        assert "Traceback" not in server.log_text(), server.log_text()[-3000:]


async def by_get(server: LiveServer) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        return await http.get(f"{server.url}{HANDSHAKE}polling")
