"""The REST API on real servers, against a provider that waits for the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from tests.support import live
from tests.support.live import LiveServer
from tests.support.upstream import Upstream

# Simultaneous requests for whole answers, and for streams.
WHOLE, STREAMED = 300, 20
WAITING = WHOLE + STREAMED


@pytest.fixture(scope="module")
def server_env(upstream_env: dict[str, str]) -> dict[str, str]:
    return {
        **upstream_env,
        "LLMCHAT_MESSAGES_PER_MINUTE": "0",
        "LLMCHAT_MAX_STREAMS_PER_USER": "1000",
    }


def client_of(
    server: LiveServer, account: live.Account | None = None
) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=server.url,
        headers=(account or server.account()).headers,
        limits=httpx.Limits(max_connections=None),
        timeout=30,
    )


def threads_of(server: LiveServer) -> list[int]:
    """Return the number of threads of each process."""
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in server.pids]
    return [int(text.split("Threads:")[1].split()[0]) for text in statuses]


def body(**fields: object) -> dict[str, object]:
    message = {"role": "user", "content": "Hi"}
    return {"provider": "openai", "messages": [message], **fields}


async def test_three_hundred_requests_wait_at_once_without_threads_of_their_own(
    server: LiveServer, live_upstream: Upstream
) -> None:
    live_upstream.steps = (go := asyncio.Event(), "Hello")
    async with client_of(server) as client:
        await client.get("/llm/providers")
        before = threads_of(server)
        waiting = [
            asyncio.create_task(client.post("/llm/chat", json=body(stream=n >= WHOLE)))
            for n in range(WAITING)
        ]
        # The provider answers none of them until it has received them all.
        while len(live_upstream.requests) < WAITING:
            assert not any(task.done() for task in waiting)
            await asyncio.sleep(0.05)
        during = threads_of(server)
        go.set()
        responses = await asyncio.gather(*waiting)

    assert [response.status_code for response in responses] == [200] * WAITING
    for now, then in zip(during, before, strict=True):
        assert now - then < 20


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_hangs_up_cancels_the_provider_request(
    server: LiveServer, live_upstream: Upstream, stream: bool
) -> None:
    live_upstream.steps = ("Hel", asyncio.Event())
    account = server.account()
    async with client_of(server, account) as client:
        asked = asyncio.create_task(client.post("/llm/chat", json=body(stream=stream)))
        await live_upstream.received.wait()
        asked.cancel()
        async with asyncio.timeout(20):
            await live_upstream.hung_up.wait()
    query = "SELECT role FROM llmchat_message WHERE state = 'cancelled' AND user_id = ?"
    rows = await server.rows_soon(query, account.user_id, count=1)
    assert rows == [("assistant",)]


async def test_a_stream_arrives_token_by_token(
    server: LiveServer, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    names, texts = [], []
    async with (
        client_of(server) as client,
        client.stream("POST", "/llm/chat/", json=body(stream=True)) as response,
    ):
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["x-accel-buffering"] == "no"
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
            if line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
                texts.append(data.get("token"))
                if data.get("token") == "Hel":
                    go.set()

    assert names == [
        "llm:stream:start",
        "llm:stream:token",
        "llm:stream:token",
        "llm:stream:done",
    ]
    assert texts == [None, "Hel", "lo", None]


async def test_a_body_of_no_announced_length_is_read(
    server: LiveServer, live_upstream: Upstream
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield json.dumps(body()).encode()

    async with client_of(server) as client:
        response = await client.post(
            "/llm/chat",
            content=chunks(),
            headers={"Content-Type": "application/json"},
        )
    assert response.json()["fullResponse"] == "Hello"


async def test_a_provider_that_fails_is_a_bad_gateway(
    server: LiveServer, live_upstream: Upstream
) -> None:
    live_upstream.status = 401
    async with client_of(server) as client:
        response = await client.post("/llm/chat", json=body())
    assert response.status_code == 502
    assert response.json()["code"] == "provider_auth"
    assert "sk-" not in response.text
    assert "sk-" not in server.log_text()


async def test_an_answer_that_breaks_off_is_told_with_its_text_and_place(
    server: LiveServer, live_upstream: Upstream
) -> None:
    live_upstream.cut = True
    async with client_of(server) as client:
        response = await client.post("/llm/chat", json=body())
    answer = response.json()
    assert (response.status_code, answer["code"]) == (502, "provider_error")
    assert answer["partialResponse"] == "Hello"
    query = "SELECT conversation_id, state, content FROM llmchat_message WHERE id = ?"
    stored = server.rows(query, UUID(answer["messageId"]).hex)
    conversation = UUID(answer["conversationId"]).hex
    assert stored == [(conversation, "error", "Hello")]


async def test_an_answer_that_an_operator_stops_is_told_with_its_text_and_place(
    server: LiveServer, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hel", asyncio.Event())
    account = server.account()
    running = "SELECT id FROM llmchat_message WHERE user_id = ? AND state = 'streaming'"
    async with client_of(server, account) as client:
        asking = asyncio.create_task(client.post("/llm/chat", json=body()))
        pieces = "SELECT message_id FROM llmchat_piece WHERE text = 'Hel'"
        text = f"{running} AND id IN ({pieces})"
        [(ident,)] = await server.rows_soon(text, account.user_id, count=1)
        server.change(
            "UPDATE llmchat_message SET stop_requested = TRUE WHERE id = ?", ident
        )
        response = await asking
    answer = response.json()
    assert (response.status_code, answer["code"]) == (409, "cancelled")
    assert answer["error"] == "The answer was cancelled"
    assert answer["partialResponse"] == "Hel"
    assert UUID(answer["messageId"]).hex == ident
