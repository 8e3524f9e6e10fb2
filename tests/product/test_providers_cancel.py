"""A cancel in every phase of a provider's answer, through a whole server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.conftest import StartServer
from tests.emulator.driver import APIS
from tests.emulator.request import Request
from tests.support.live import Account, LiveServer
from tests.support.provider_lab import (
    ThreadedEmulator,
    body,
    emulated,
    environment,
    http_client,
    question,
)
from tests.support.provider_outcomes import Case
from tests.support.stock_client import connected_client

# The text that has arrived by the time of the cancel.
PHASES = {
    "slow-headers": "",
    "slow-first": "",
    "comments-only": "",
    "silence": "Hello, wörld!",
    "endless": "on ",
}
CASES: list[Case] = [(api, scenario) for api in APIS for scenario in PHASES]
LIMIT_S = 10.0  # even if a process stalls; the next deadline is 30 s away
USUAL_S = 1.0  # on a machine with other work; alone it is a few milliseconds


@dataclass(slots=True)
class Cancelled:
    """The outcome of a cancel, which reached the provider after `wait_s`."""

    request: Request
    wait_s: float
    events: list[str]
    text: str


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedEmulator]:
    with emulated() as server:
        yield server


@pytest.fixture(scope="module", params=["uvicorn", "daphne"])
def product(
    request: pytest.FixtureRequest,
    start_server: StartServer,
    upstream: ThreadedEmulator,
) -> Iterator[LiveServer]:
    server = start_server(request.param, environment(upstream))
    yield server
    assert "Traceback" not in server.log_text(), server.log


async def _over_socketio(
    server: LiveServer, upstream: ThreadedEmulator, account: Account, case: Case
) -> Cancelled:
    """Cancel with the event, once all the text of the phase has arrived."""
    name = " ".join(case)
    fields = body("socketio", case)
    fields["messages"][0]["content"] = mark = f"{server.kind} socketio {name}"
    text = ""
    transports = ("websocket",)
    async with connected_client(
        server.url, account.access, transports=transports
    ) as client:
        await client.emit("llm:chat:stream", {"sessionId": name, **fields})
        request = await upstream.until_asked(mark)
        while len(text) < len(PHASES[case[1]]):
            text += (await client.event("llm:stream:token", name))["token"]
        asked = time.monotonic()
        await client.emit("llm:stream:cancel", {"sessionId": name})
        wait_s = await upstream.until_ended(request) - asked
        events = await client.stream(name)
    text += "".join(data.get("token", "") for _, data in events)
    assert events[-1][1]["partialResponse"] == text
    return Cancelled(request, wait_s, [event for event, _ in events], text)


async def _over_http(
    server: LiveServer,
    upstream: ThreadedEmulator,
    account: Account,
    case: Case,
    *,
    transport: str,
) -> Cancelled:
    """Cancel by closing the connection."""
    fields = body(transport, case) | {"stream": transport == "sse"}
    mark = f"{server.kind} {question(transport, case)}"
    fields["messages"][0]["content"] = mark
    async with http_client(server, account) as client:
        asking = asyncio.create_task(client.post("/llm/chat", json=fields))
        request = await upstream.until_asked(mark)
        asking.cancel()
        asked = time.monotonic()
        await asyncio.gather(asking, return_exceptions=True)
    wait_s = await upstream.until_ended(request) - asked
    return Cancelled(request, wait_s, [], "")


async def _over_sse(
    server: LiveServer, upstream: ThreadedEmulator, account: Account, case: Case
) -> Cancelled:
    return await _over_http(server, upstream, account, case, transport="sse")


async def _over_rest(
    server: LiveServer, upstream: ThreadedEmulator, account: Account, case: Case
) -> Cancelled:
    return await _over_http(server, upstream, account, case, transport="rest")


Ask = Callable[[LiveServer, ThreadedEmulator, Account, Case], Awaitable[Cancelled]]
TRANSPORTS: dict[str, Ask] = {
    "socketio": _over_socketio,
    "sse": _over_sse,
    "rest": _over_rest,
}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cancel_hangs_up_on_the_provider_in_every_phase(
    product: LiveServer, upstream: ThreadedEmulator, transport: str
) -> None:
    account = product.account()
    waits = []
    for api in APIS:
        some = [case for case in CASES if case[0] == api]
        outcomes = await asyncio.gather(
            *(TRANSPORTS[transport](product, upstream, account, case) for case in some)
        )
        for (_, scenario), outcome in zip(some, outcomes, strict=True):
            assert outcome.request.hung_up
            assert outcome.wait_s < LIMIT_S, (api, scenario)
            waits.append(outcome.wait_s)
            if transport == "socketio":
                assert outcome.events[-1] == "llm:stream:cancelled"
                assert outcome.text.startswith(PHASES[scenario])
                assert not outcome.text or PHASES[scenario]
        mark = f'"{product.kind} {transport}'.encode()
        asked = [r for r in list(upstream.requests) if mark in r.raw_body]
        assert len([r for r in asked if r.api == api]) == len(PHASES)
    states = await product.rows_soon(
        "SELECT state FROM llmchat_message WHERE user_id = ? AND state = 'cancelled'",
        account.user_id,
        count=len(CASES),
    )
    assert len(states) == len(CASES)
    assert sorted(waits)[len(waits) // 2] < USUAL_S, json.dumps(sorted(waits))
