"""Attaching to an answer on real servers, with the stock client and over REST."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support import live
from tests.support.live import LiveServer
from tests.support.stock_client import connected_client
from tests.support.upstream import Upstream

Event = tuple[str, dict[str, Any], str]


@pytest.fixture(scope="module")
def server_env(upstream_env: dict[str, str]) -> dict[str, str]:
    return {
        **upstream_env,
        "LLMCHAT_MESSAGES_PER_MINUTE": "0",
    }


def client_of(server: LiveServer, account: live.Account) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, headers=account.headers, timeout=10)


def body(**fields: object) -> dict[str, object]:
    message = {"role": "user", "content": "Hi"}
    return {"provider": "openai", "messages": [message], **fields}


async def events_of(response: httpx.Response) -> AsyncIterator[Event]:
    """Yield the name, the data and the id of each server-sent event."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields["event"], json.loads(fields["data"]), fields.get("id", "")
            fields = {}


async def test_a_page_that_is_loaded_anew_hears_the_rest(
    server: LiveServer, live_upstream: Upstream
) -> None:
    live_upstream.steps = (
        "Hel",
        go := asyncio.Event(),
        "lo",
        " you",
        end := asyncio.Event(),
    )
    account = server.account()
    async with connected_client(server.url, account.access) as first:
        await first.start("s-1", "Hi", provider="openai")
        start = await first.event("llm:stream:start", "s-1")
        await first.event("llm:stream:token", "s-1")
        await first.drop()
    async with connected_client(server.url, account.access) as second:
        [ack] = await second.call(
            "llm:stream:attach", {"messageId": start["messageId"]}
        )
        go.set()
        tokens = [await second.event("llm:stream:token", "s-1") for _ in range(2)]
        end.set()
        done = await second.event("llm:stream:done", "s-1")
        [late] = await second.call("llm:stream:attach", {"sessionId": "s-1"})
        rest = await second.quiet(for_s=0.2)

    start.pop("timestamp")
    assert ack == {"ok": True, **start, "text": "Hel"}
    assert [token["token"] for token in tokens] == ["lo", " you"]
    assert done["fullResponse"] == late["text"] == "Hello you"
    assert late["ended"]["event"] == "llm:stream:done"
    assert late["ended"]["data"]["fullResponse"] == "Hello you"
    assert not [report for report in rest if report["on"] == "event"]


async def test_a_second_tab_keeps_the_answer_of_a_first_one_that_leaves(
    server: LiveServer, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    account = server.account()
    async with connected_client(server.url, account.access) as second:
        async with connected_client(server.url, account.access) as first:
            await first.start("s-1", "Hi", provider="openai")
            await first.event("llm:stream:token", "s-1")
            [ack] = await second.call("llm:stream:attach", {"sessionId": "s-1"})
        go.set()
        events = await second.stream("s-1")
    assert ack["text"] == "Hel"
    assert [name for name, _ in events] == ["llm:stream:token", "llm:stream:done"]
    assert events[-1][1]["fullResponse"] == "Hello"


async def test_another_user_finds_nothing(
    server: LiveServer, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    account, other = server.account(), server.account()
    async with (
        connected_client(server.url, account.access) as owner,
        connected_client(server.url, other.access) as stranger,
        client_of(server, other) as rest,
    ):
        await owner.start("s-1", "Hi", provider="openai")
        start = await owner.event("llm:stream:start", "s-1")
        await owner.event("llm:stream:token", "s-1")
        address = f"/llm/streams/{start['messageId']}"
        [ack] = await stranger.call("llm:stream:attach", {"sessionId": "s-1"})
        listed = await rest.get("/llm/streams")
        followed, cancelled = await rest.get(address), await rest.delete(address)
        go.set()
        done = await owner.event("llm:stream:done", "s-1")
    assert (ack["ok"], ack["code"]) == (False, "stream_not_found")
    assert listed.json() == {"streams": []}
    for response in (followed, cancelled):
        assert (response.status_code, response.json()["code"]) == (
            404,
            "stream_not_found",
        )
    assert done["fullResponse"] == "Hello"


async def test_a_stream_is_listed_followed_and_gone_on_with(
    server: LiveServer, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hel", go := asyncio.Event(), "lo", " you")
    account = server.account()
    async with (
        connected_client(server.url, account.access) as owner,
        client_of(server, account) as client,
    ):
        await owner.start("s-1", "Hi", provider="openai")
        start = await owner.event("llm:stream:start", "s-1")
        await owner.event("llm:stream:token", "s-1")
        listed = (await client.get("/llm/streams/")).json()
        address = f"/llm/streams/{start['messageId']}"
        head = await client.head(address)
        assert (head.status_code, head.content) == (200, b"")
        async with client.stream("GET", address) as response:
            for name in ("content-type", "cache-control", "x-accel-buffering"):
                assert response.headers[name] == head.headers[name]
            assert response.headers["content-type"] == "text/event-stream"
            events = events_of(response)
            seen = [await anext(events), await anext(events)]
        last = {"Last-Event-ID": seen[-1][2], "Accept": "text/event-stream"}
        async with client.stream("GET", f"{address}/", headers=last) as response:
            go.set()
            rest = [event async for event in events_of(response)]
        await owner.event("llm:stream:done", "s-1")
        over = await client.get(address, headers={"Last-Event-ID": rest[-1][2]})
        wrong = await client.get(address, headers={"Last-Event-ID": "10"})
        again = await client.get(address)

    start.pop("timestamp")
    assert listed == {"streams": [start]}
    assert [name for name, _, _ in seen] == ["llm:stream:start", "llm:stream:token"]
    tokens = [data["token"] for _, data, _ in [*seen[1:], *rest[:-1]]]
    assert "".join(tokens) == "Hello you"
    assert rest[-1][0] == "llm:stream:done"
    assert (over.status_code, over.content) == (204, b"")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "bad_request")
    assert again.text.count("llm:stream:done") == 1


async def test_a_stream_is_cancelled_by_its_address(
    server: LiveServer, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hel", asyncio.Event())
    account = server.account()
    async with (
        connected_client(server.url, account.access) as owner,
        client_of(server, account) as client,
    ):
        await owner.start("s-1", "Hi", provider="openai")
        start = await owner.event("llm:stream:start", "s-1")
        await owner.event("llm:stream:token", "s-1")
        address = f"/llm/streams/{start['messageId']}"
        answer = await client.delete(address)
        told = await owner.event("llm:stream:cancelled", "s-1")
        again = await client.delete(address)
        unknown = await client.delete(f"/llm/streams/{uuid4()}")
        no_id = await client.delete("/llm/streams/x/")
        async with asyncio.timeout(20):
            await live_upstream.hung_up.wait()
    place = {n: start[n] for n in ("conversationId", "messageId", "questionId")}
    assert (answer.status_code, answer.json()) == (200, {"ok": True, **place})
    assert told["partialResponse"] == "Hel"
    for response in (again, unknown, no_id):
        assert (response.status_code, response.json()["code"]) == (
            404,
            "stream_not_found",
        )


async def test_a_rest_client_that_hangs_up_cancels_only_what_nobody_else_hears(
    server: LiveServer, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    account = server.account()
    async with (
        connected_client(server.url, account.access) as socket,
        client_of(server, account) as client,
    ):
        asked = body(stream=True, sessionId="s-1")
        async with client.stream("POST", "/llm/chat", json=asked) as response:
            events = events_of(response)
            start, token = await anext(events), await anext(events)
            [ack] = await socket.call("llm:stream:attach", {"sessionId": "s-1"})
        # The server handles a client's departure before its next request.
        await client.get("/llm/streams")
        go.set()
        done = await socket.event("llm:stream:done", "s-1")
        # It comes back to where it was.
        address, last = f"/llm/streams/{ack['messageId']}", {"Last-Event-ID": token[2]}
        async with client.stream("GET", address, headers=last) as response:
            rest = [event async for event in events_of(response)]
    assert (start[2], token[1]["token"], token[2]) == ("0", "Hel", "3")
    assert ack["text"] == "Hel"
    assert done["fullResponse"] == "Hello"
    assert [(name, ident) for name, _, ident in rest] == [
        ("llm:stream:token", "5"),
        ("llm:stream:done", "end"),
    ]
    assert rest[0][1]["token"] == "lo"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_streams_are_for_those_with_a_token(
    server: LiveServer, method: str
) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        response = await client.request(method, f"/llm/streams/{uuid4()}")
        listed = await client.get("/llm/streams")
    assert (response.status_code, listed.status_code) == (401, 401)
