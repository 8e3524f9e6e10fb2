"""Five hundred streams through one server and its one provider client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.emulator.api import Story
from tests.emulator.openai_api import OpenAIApi
from tests.emulator.request import Request
from tests.emulator.response import Hold, Response
from tests.support.live import LiveServer
from tests.support.provider_lab import ThreadedEmulator, emulated, environment
from tests.support.stock_client import ENDS, StockClient, connected_client

pytestmark = pytest.mark.usefixtures("unmeasured")

STREAMS = 500
CANCELLED = 200


go = asyncio.Event()


def echo(request: Request, number: int) -> Response:
    """Answer with the question, and hold back a part of it until `go` is set."""
    request.model = str(request.body["messages"][-1]["content"])  # type: ignore[index]
    head, *tail = OpenAIApi().events(Story((f"[{request.model}", "] ", "ends.")))
    return Response([head, tail[0], Hold(go), *tail[1:]])


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedEmulator]:
    with emulated(echo) as server:
        yield server


@pytest.fixture(scope="module")
def product(start_server: StartServer, upstream: ThreadedEmulator) -> LiveServer:
    # No answer times out, however long it takes to start all of them.
    patience = {"LLMCHAT_IDLE_TIMEOUT_S": "300", "LLMCHAT_TOTAL_TIMEOUT_S": "600"}
    return start_server("uvicorn", environment(upstream, **patience))


Texts = dict[str, str]
Ends = dict[str, tuple[str, dict[str, Any]]]


async def _read(client: StockClient, texts: Texts, ends: Ends) -> None:
    """Read the next event, and note its text or how its stream ends."""
    report = await client.next()
    assert report["on"] == "event", report
    data = report["args"][0]
    name = data["sessionId"]
    assert name not in ends, "nothing comes after the end"
    if report["name"] == "llm:stream:token":
        texts[name] = texts.get(name, "") + data["token"]
    elif report["name"] in ENDS:
        ends[name] = (report["name"], data)


async def _cancel(
    client: StockClient, name: str, request: Request, upstream: ThreadedEmulator
) -> float:
    """Return the seconds from the cancel to the end of the provider's connection."""
    asked = time.monotonic()
    await client.emit("llm:stream:cancel", {"sessionId": name})
    return await upstream.until_ended(request) - asked


async def test_500_streams_at_once_are_all_right_and_200_cancels_arrive_at_once(
    product: LiveServer, upstream: ThreadedEmulator
) -> None:
    names = [f"stream-{number}" for number in range(STREAMS)]
    account = product.account()
    texts: Texts = {}
    ends: Ends = {}
    async with connected_client(
        product.url, account.access, transports=("websocket",)
    ) as client:
        for name in names:
            await client.start(name, name, provider="openai")
        while len(texts) < STREAMS:
            await _read(client, texts, ends)
        requests = {request.model: request for request in upstream.requests}
        assert sum(not request.ended for request in requests.values()) == STREAMS
        waits = [
            await _cancel(client, name, requests[name], upstream)
            for name in names[:CANCELLED]
        ]
        upstream.release(go)
        while len(ends) < STREAMS:
            await _read(client, texts, ends)

    for name in names[:CANCELLED]:
        (end, data), text = ends[name], texts[name]
        assert (end, text) == ("llm:stream:cancelled", f"[{name}")
        assert data["partialResponse"] == text
        assert requests[name].hung_up
    for name in names[CANCELLED:]:
        (end, data), text = ends[name], texts[name]
        assert (end, text) == ("llm:stream:done", f"[{name}] ends.")
        assert data["fullResponse"] == text
    assert len(upstream.requests) == STREAMS
    assert "PoolTimeout" not in product.log_text()
    assert "Traceback" not in product.log_text()
    waits.sort()
    # A busy machine may delay a few of them.
    assert waits[int(CANCELLED * 0.95)] < 1, waits
