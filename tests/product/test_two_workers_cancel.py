"""A cancel on another worker than the answer's is obeyed within a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.support.stock_client import StockClient, connected_client
from tests.support.stress import STRESSED
from tests.support.two_workers import Pair, client_of
from tests.support.upstream import Upstream

pytestmark = pytest.mark.timeout(240)

# What is promised; or, on a machine that may stall, less than any time-out.
SOON_S = 1.0 if STRESSED else 10.0
TIMES = 20 if STRESSED else 3

Cancel = Callable[[StockClient, httpx.AsyncClient, str], Awaitable[None]]


async def by_socket(second: StockClient, rest: httpx.AsyncClient, name: str) -> None:
    [ack] = await second.call("llm:stream:cancel", {"sessionId": name})
    assert ack["ok"], ack


async def by_address(second: StockClient, rest: httpx.AsyncClient, name: str) -> None:
    listed = (await rest.get("/llm/streams")).json()["streams"]
    [ident] = [one["messageId"] for one in listed if one["sessionId"] == name]
    response = await rest.delete(f"/llm/streams/{ident}")
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("cancel", [by_socket, by_address])
async def test_a_cancel_on_the_other_worker_ends_the_answer_soon(
    pair: Pair, live_upstream: Upstream, cancel: Cancel
) -> None:
    live_upstream.steps = ("Hel", asyncio.Event())
    account = next(pair.accounts)
    told_s, hung_up_s = list[float](), list[float]()
    async with (
        connected_client(pair.a.url, account.access) as asker,
        connected_client(pair.b.url, account.access) as second,
        client_of(pair.b, account) as rest,
    ):
        for number in range(TIMES):
            name = f"s-{number}"
            live_upstream.hung_up.clear()
            await asker.start(name, f"Hi {number}", provider="openai")
            await asker.event("llm:stream:token", name)
            began = time.monotonic()
            await cancel(second, rest, name)
            await asker.event("llm:stream:cancelled", name)
            told_s.append(time.monotonic() - began)
            async with asyncio.timeout(20):
                await live_upstream.hung_up.wait()
            hung_up_s.append(time.monotonic() - began)
    print(f"\nat most {max(told_s):.3f} s to the client,")
    print(f"{max(hung_up_s):.3f} s to the provider")
    assert max(told_s) < SOON_S
    assert max(hung_up_s) < SOON_S
