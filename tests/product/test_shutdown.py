"""A server that gets the signal to stop while it writes answers."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.conftest import SERVER_KINDS, StartServer
from tests.support.live import Account, LiveServer
from tests.support.provider_lab import (
    ThreadedEmulator,
    emulated,
    environment,
    http_client,
)
from tests.support.redis_server import RedisServer
from tests.support.stock_client import StockClient, connected_client
from tests.support.visitors import HELD, answer_or_hold, go_on

DRAIN_S = 2.0
# From the last answer's end to the end of the process, on a busy machine. Uvicorn
# would wait ten seconds for a connection that stays open.
STOP_S = 8.0
LONG_DRAIN = {"LLMCHAT_DRAIN_S": "60"}
PROVIDER = {"provider": "openai", "model": "scenario-endless"}
ROWS = (
    "SELECT state, error_code, content FROM llmchat_message "
    "WHERE role = 'assistant' AND user_id = ?"
)
TEXT = "SELECT conversation_id, content FROM llmchat_message WHERE id = ?"
TRANSPORTS = {"polling": ("polling",), "websocket": ("websocket",)}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedEmulator]:
    with emulated(answer_or_hold) as emulator:
        yield emulator


@pytest.fixture(params=SERVER_KINDS)
def server(
    request: pytest.FixtureRequest,
    start_server: StartServer,
    upstream: ThreadedEmulator,
) -> LiveServer:
    """A server of the test's own, since the test stops it."""
    drain = {"LLMCHAT_DRAIN_S": str(DRAIN_S)}
    return start_server(request.param, environment(upstream, **drain))


def as_stored(ident: str) -> str:
    """Return an id as SQLite stores it."""
    return UUID(ident).hex


def tell(server: LiveServer, number: int = signal.SIGTERM) -> float:
    """Send a server the signal to stop, and return when that was."""
    server.process.send_signal(number)
    return time.monotonic()


async def ended(server: LiveServer) -> float:
    """Wait for the end of the process and return when it was."""
    await asyncio.to_thread(server.process.wait, 30)
    return time.monotonic()


def assert_quiet(server: LiveServer) -> None:
    log = server.log_text()
    assert "Traceback" not in log, log
    assert "never retrieved" not in log, log
    assert "ERROR" not in log, log
    assert server.process.returncode == 0


def body(text: str, **fields: Any) -> dict[str, Any]:
    return {**PROVIDER, "messages": [{"role": "user", "content": text}], **fields}


def events_in(received: str) -> list[tuple[str, dict[str, Any]]]:
    events = []
    for item in received.split("\n\n")[:-1]:
        name, data, *_ident = item.split("\n")
        payload = json.loads(data.removeprefix("data: "))
        events.append((name.removeprefix("event: "), payload))
    return events


async def endless(client: StockClient, name: str) -> str:
    """Start a stream that does not end, and return the first of its text."""
    await client.start(name, f"Go {name}", **PROVIDER)
    first = await client.event("llm:stream:token", name)
    return str(first["token"])


async def cut_off(client: StockClient, name: str, first: str) -> dict[str, Any]:
    """Return the error that ends a stream, after checking that no text is missing."""
    events = await client.stream(name)
    assert events[-1][0] == "llm:stream:error"
    end = events[-1][1]
    assert end["code"] == "draining"
    later = "".join(data.get("token", "") for _, data in events)
    assert end["partialResponse"] == first + later
    return end


@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS)
async def test_an_endless_answer_gets_its_end_before_the_socket_closes(
    server: LiveServer, transports: tuple[str, ...]
) -> None:
    account = server.account()
    options = {"transports": transports}
    async with connected_client(server.url, account.access, **options) as client:
        first = await endless(client, "one")
        told = tell(server)
        end = await cut_off(client, "one", first)
        assert time.monotonic() - told > DRAIN_S / 2
        assert (await client.on("disconnect"))["reason"] == "transport close"
        assert await ended(server) - told < DRAIN_S + STOP_S
        late = await client.quiet(for_s=0.3)
    assert end["retryAfter"] == 5
    assert not [report for report in late if report["on"] == "event"]
    stored = server.rows(ROWS, account.user_id)
    assert stored == [("interrupted", "draining", end["partialResponse"])]
    assert_quiet(server)


@pytest.mark.parametrize("kind", SERVER_KINDS)
async def test_a_short_answer_is_finished_and_a_new_turn_refused(
    start_server: StartServer, upstream: ThreadedEmulator, kind: str
) -> None:
    server = start_server(kind, environment(upstream, **LONG_DRAIN))
    account, model = server.account(), HELD + secrets.token_hex(8)
    async with connected_client(server.url, account.access) as client:
        await client.start("short", "Go", provider="openai", model=model)
        await client.event("llm:stream:token", "short")
        tell(server)
        # The server runs for as long as the answer takes, and no longer.
        await endless_is_refused(client, server, account)
        go_on(upstream, model)
        told = time.monotonic()
        events = await client.stream("short")
        assert events[-1][0] == "llm:stream:done"
        await client.on("disconnect")
        assert await ended(server) - told < STOP_S
    [(state, code, text)] = server.rows(ROWS, account.user_id)
    assert (state, code, text) == ("complete", "", events[-1][1]["fullResponse"])
    assert "added to 1 answers: first token p50 ≤ " in server.log_text()
    assert_quiet(server)


async def endless_is_refused(
    client: StockClient, server: LiveServer, account: Account
) -> None:
    """Assert that a stopping server refuses more, over sockets and over REST."""
    await client.start("new", "Go on", **PROVIDER)
    refused = await client.event("llm:stream:error", "new")
    assert refused["code"] == "draining"
    async with http_client(server, account) as http:
        answer = await http.post("/llm/chat", json=body("Go on"))
        ready = await http.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "draining")
    assert (ready.status_code, ready.json()["notReady"]) == (503, ["draining"])


async def test_rest_answers_are_ended_in_their_own_way(
    server: LiveServer, upstream: ThreadedEmulator
) -> None:
    account = server.account()
    mark = f"Go {server.kind}"
    async with http_client(server, account) as http:
        asking = [
            asyncio.create_task(http.post("/llm/chat", json=body(text, stream=stream)))
            for text, stream in ((f"{mark} whole", False), (f"{mark} sse", True))
        ]
        for text in (f"{mark} whole", f"{mark} sse"):
            await upstream.until_asked(text)
        told = tell(server)
        whole, streamed = await asyncio.gather(*asking)
        assert await ended(server) - told < DRAIN_S + STOP_S
    assert (whole.status_code, whole.json()["code"]) == (503, "draining")
    assert whole.headers["retry-after"] == "5"
    cut = whole.json()
    assert cut["partialResponse"].startswith("on ")
    assert server.rows(TEXT, as_stored(cut["messageId"])) == [
        (as_stored(cut["conversationId"]), cut["partialResponse"])
    ]
    assert streamed.status_code == 200
    names = [name for name, _ in events_in(streamed.text)]
    assert names[0] == "llm:stream:start"
    assert set(names[1:-1]) == {"llm:stream:token"}
    name, end = events_in(streamed.text)[-1]
    assert (name, end["code"]) == ("llm:stream:error", "draining")
    assert end["partialResponse"].startswith("on ")
    rows = server.rows(ROWS, account.user_id)
    assert [row[:2] for row in rows] == [("interrupted", "draining")] * 2
    assert_quiet(server)


async def test_a_second_signal_cuts_the_waiting_short(
    start_server: StartServer, upstream: ThreadedEmulator
) -> None:
    server = start_server("uvicorn", environment(upstream, **LONG_DRAIN))
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        first = await endless(client, "one")
        tell(server, signal.SIGINT)
        await client.start("new", "Go on", **PROVIDER)
        assert (await client.event("llm:stream:error", "new"))["code"] == "draining"
        told = tell(server, signal.SIGINT)
        await cut_off(client, "one", first)
        assert await ended(server) - told < STOP_S
    assert_quiet(server)


async def test_a_second_signal_cuts_the_waiting_of_workers_short(
    start_server: StartServer, upstream: ThreadedEmulator, redis_server: RedisServer
) -> None:
    several = {"WEB_CONCURRENCY": "2", "REDIS_URL": redis_server.url, **LONG_DRAIN}
    server = start_server("uvicorn", environment(upstream, **several))
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        first = await endless(client, "one")
        await client.start("short", "Go", provider="openai", model="scenario-trickle")
        await client.event("llm:stream:token", "short")
        # As a process manager does it, which signals the workers as well as the master.
        for worker in children_of(server):
            os.kill(worker, signal.SIGTERM)
        tell(server)
        assert (await client.stream("short"))[-1][0] == "llm:stream:done"
        told = tell(server)
        await cut_off(client, "one", first)
        assert await ended(server) - told < STOP_S
    assert_quiet(server)


@pytest.mark.parametrize("kind", SERVER_KINDS)
@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS)
async def test_a_server_that_writes_nothing_ends_at_once(
    start_server: StartServer, kind: str, transports: tuple[str, ...]
) -> None:
    server = start_server(kind, LONG_DRAIN)
    account = server.account()
    options = {"transports": transports}
    async with connected_client(server.url, account.access, **options) as client:
        done = await client.ask("one", "Hi!", maxTokens=4)
        assert done[-1][0] == "llm:stream:done"
        children = children_of(server)
        assert children
        told = tell(server, signal.SIGINT)
        assert (await client.on("disconnect"))["reason"] == "transport close"
        assert await ended(server) - told < STOP_S
    assert not alive(children)
    assert_quiet(server)


def children_of(server: LiveServer) -> list[int]:
    """Return the processes that a server has started."""
    tasks = Path(f"/proc/{server.process.pid}/task")
    lists = [(tasks / task / "children").read_text() for task in os.listdir(tasks)]
    return [int(pid) for text in lists for pid in text.split()]


def alive(processes: list[int]) -> list[int]:
    return [pid for pid in processes if Path(f"/proc/{pid}").exists()]


async def test_the_stock_client_comes_back_to_the_next_server(
    start_server: StartServer, upstream: ThreadedEmulator
) -> None:
    env = environment(upstream, LLMCHAT_DRAIN_S="0.1")
    stopped = start_server("uvicorn", env)
    account = stopped.account()
    async with connected_client(stopped.url, account.access) as client:
        token = await endless(client, "one")
        tell(stopped)
        await cut_off(client, "one", token)
        await ended(stopped)
        started = start_server("uvicorn", env, stopped.port)
        await client.on("connect")
        again = await client.ask("one", "Hi", **PROVIDER | {"model": "scenario-short"})
    assert again[-1][0] == "llm:stream:done"
    assert started.rows(ROWS, account.user_id)[0][0] == "complete"
