"""Two workers of one database and one Redis: an answer is the same on both."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support import live
from tests.support.attaching import LIMIT_S, Page, page
from tests.support.stock_client import connected_client
from tests.support.two_workers import Pair, client_of
from tests.support.upstream import Step, Upstream

PARTS = 150
TABS = 25
PACE_S = 0.01

pytestmark = pytest.mark.timeout(240)


async def events_of(
    response: httpx.Response,
) -> AsyncIterator[tuple[str, dict[str, Any], str]]:
    """Yield the name, the data and the id of each server-sent event."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields["event"], json.loads(fields["data"]), fields.get("id", "")
            fields = {}


async def test_whoever_attaches_on_either_worker_hears_the_whole_answer(
    pair: Pair, live_upstream: Upstream
) -> None:
    account = next(pair.accounts)
    steps: list[Step] = [asyncio.Event() for _ in range(PARTS)]
    gates = [step for step in steps if isinstance(step, asyncio.Event)]
    live_upstream.steps = [s for n, gate in enumerate(gates) for s in (gate, f"{n} ")]
    text = "".join(step for step in live_upstream.steps if isinstance(step, str))

    async def attach(tab: Page, start: dict[str, Any]) -> None:
        await random.choice(gates[: PARTS - 20]).wait()
        await asyncio.sleep(random.uniform(0, PACE_S))
        await tab.attach(start)

    async with page(pair.a, account, is_owner=True) as asker:
        await asker.ask("s-1")
        start = asker.heard["s-1"].start
        opened = [page((pair.b, pair.a)[n % 5 == 0], account) for n in range(TABS)]
        tabs = [await one.__aenter__() for one in opened]
        attaching = asyncio.gather(*(attach(tab, start) for tab in tabs))
        for gate in gates[:-1]:
            gate.set()
            await asyncio.sleep(PACE_S)
        await attaching
        gates[-1].set()
        heard = [one.heard["s-1"] for one in (asker, *tabs)]
        async with asyncio.timeout(LIMIT_S):
            for one in heard:
                await one.ended.wait()
        late = [await tab.attach(start) for tab in tabs[:5]]
        for one in opened:
            await one.__aexit__(None, None, None)
    assert [fault for one in heard for fault in one.faults] == []
    assert {one.text for one in heard} == {text}
    assert {ack["ended"]["data"]["fullResponse"] for ack in late} == {text}


async def test_an_answer_is_listed_and_cancelled_on_the_other_worker(
    pair: Pair, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hel", asyncio.Event())
    account, other = next(pair.accounts), next(pair.accounts)
    async with (
        connected_client(pair.a.url, account.access) as asker,
        connected_client(pair.b.url, account.access) as second,
        connected_client(pair.b.url, other.access) as stranger,
        client_of(pair.b, account) as rest,
        client_of(pair.b, other) as strange_rest,
    ):
        await asker.start("s-1", "Hi", provider="openai")
        start = await asker.event("llm:stream:start", "s-1")
        await asker.event("llm:stream:token", "s-1")
        listed = (await rest.get("/llm/streams")).json()
        address = f"/llm/streams/{start['messageId']}"
        for name in ("messageId", "sessionId", "conversationId"):
            [ack] = await stranger.call("llm:stream:attach", {name: start[name]})
            assert (ack["ok"], ack["code"]) == (False, "stream_not_found")
        [ack] = await stranger.call("llm:stream:cancel", {"sessionId": "s-1"})
        assert (ack["ok"], ack["code"]) == (False, "stream_not_found")
        assert (await strange_rest.get("/llm/streams")).json() == {"streams": []}
        for method in ("GET", "DELETE"):
            response = await strange_rest.request(method, address)
            assert (response.status_code, response.json()["code"]) == (
                404,
                "stream_not_found",
            )

        [ack] = await second.call("llm:stream:cancel", {"sessionId": "s-1"})
        told = [
            await client.event("llm:stream:cancelled", "s-1")
            for client in (asker, second)
        ]
        [late] = await second.call("llm:stream:cancel", {"sessionId": "s-1"})
        again = await rest.delete(address)
        async with asyncio.timeout(20):
            await live_upstream.hung_up.wait()
        rows = live.rows_of(
            pair.path,
            "SELECT state, content FROM llmchat_message WHERE id = ?",
            start["messageId"].replace("-", ""),
        )
        rests = [await client.quiet(for_s=0.3) for client in (asker, second)]
    start.pop("timestamp")
    assert listed == {"streams": [start]}
    place = {n: start[n] for n in ("conversationId", "messageId", "questionId")}
    assert ack == {"ok": True, **place}
    for end in told:
        end.pop("timestamp")
        assert end == {"sessionId": "s-1", "partialResponse": "Hel", **place}
    assert rows == [("cancelled", "Hel")]
    assert (late["ok"], late["code"]) == (False, "stream_not_found")
    assert (again.status_code, again.json()["code"]) == (404, "stream_not_found")
    for reports in rests:
        names = [report["name"] for report in reports if report["on"] == "event"]
        assert "llm:stream:cancelled" not in names


async def test_an_answer_is_cancelled_by_its_address_on_the_other_worker(
    pair: Pair, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hel", asyncio.Event())
    account = next(pair.accounts)
    async with (
        connected_client(pair.a.url, account.access) as asker,
        client_of(pair.b, account) as rest,
    ):
        await asker.start("s-1", "Hi", provider="openai")
        start = await asker.event("llm:stream:start", "s-1")
        await asker.event("llm:stream:token", "s-1")
        answer = await rest.delete(f"/llm/streams/{start['messageId']}")
        told = await asker.event("llm:stream:cancelled", "s-1")
    assert answer.status_code == 200
    assert answer.json()["messageId"] == told["messageId"] == start["messageId"]
    assert told["partialResponse"] == "Hel"


async def test_server_sent_events_go_on_on_the_other_worker_and_back(
    pair: Pair, live_upstream: Upstream
) -> None:
    gates = [asyncio.Event() for _ in range(12)]
    live_upstream.steps = [s for n, g in enumerate(gates) for s in (f"ü{n} ", g)]
    text = "".join(s for s in live_upstream.steps if isinstance(s, str))
    account = next(pair.accounts)
    asked = {
        "provider": "openai",
        "messages": [{"role": "user", "content": "Hi"}],
        "sessionId": "s-1",
        "stream": True,
    }
    seen, last = "", ""
    async with (
        client_of(pair.a, account) as a,
        client_of(pair.b, account) as b,
        connected_client(pair.a.url, account.access) as keeper,
    ):
        async with a.stream("POST", "/llm/chat", json=asked) as response:
            events = events_of(response)
            _, start, _ = await anext(events)
            _, data, last = await anext(events)
            seen += data["token"]
            [ack] = await keeper.call("llm:stream:attach", {"sessionId": "s-1"})
            assert ack["ok"]
        address = f"/llm/streams/{start['messageId']}"
        end: dict[str, Any] = {}
        for number, gate in enumerate(gates):
            client, headers = (b, a)[number % 2], {"Last-Event-ID": last}
            async with client.stream("GET", address, headers=headers) as response:
                assert response.status_code == 200
                gate.set()
                events = events_of(response)
                if number == len(gates) - 1:
                    _, end, last = await anext(events)
                else:
                    _, data, last = await anext(events)
                    seen += data["token"]
        over = await b.get(address, headers={"Last-Event-ID": last})
        whole = await b.get(address)
        wrong = await b.get(address, headers={"Last-Event-ID": str(len(text) + 1)})
    assert (seen, end["fullResponse"]) == (text, text)
    assert (last, over.status_code) == ("end", 204)
    assert whole.text.count("llm:stream:done") == 1
    assert wrong.status_code == 400


async def test_the_last_reader_on_the_other_worker_cancels_by_leaving(
    pair: Pair, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hel", go := asyncio.Event(), "lo", asyncio.Event())
    account = next(pair.accounts)
    asked = {
        "provider": "openai",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
    }
    async with client_of(pair.a, account) as a, client_of(pair.b, account) as b:
        async with a.stream("POST", "/llm/chat", json=asked) as asking:
            events = events_of(asking)
            _, start, _ = await anext(events)
            address = f"/llm/streams/{start['messageId']}"
            following = b.stream("GET", address)
            response = await following.__aenter__()
            followed = events_of(response)
            assert (await anext(followed))[0] == "llm:stream:start"
            assert (await anext(followed))[1]["token"] == "Hel"
        go.set()
        assert (await anext(followed))[1]["token"] == "lo"
        assert not live_upstream.hung_up.is_set()
        await following.__aexit__(None, None, None)
        async with asyncio.timeout(20):
            await live_upstream.hung_up.wait()
            # The end of the answer is stored after that.
            while (await b.get("/llm/streams")).json() != {"streams": []}:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_a_worker_that_is_killed_leaves_one_end(
    pair: Pair, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hel", go := asyncio.Event(), "lo", asyncio.Event())
    account = next(pair.accounts)
    killed = pair.start()
    async with (
        connected_client(killed.url, account.access) as asker,
        connected_client(pair.b.url, account.access) as second,
        client_of(pair.b, account) as rest,
    ):
        await asker.start("s-1", "Hi", provider="openai")
        start = await asker.event("llm:stream:start", "s-1")
        [ack] = await second.call("llm:stream:attach", {"sessionId": "s-1"})
        go.set()
        text = ack["text"]
        while text != "Hello":
            text += (await second.event("llm:stream:token", "s-1"))["token"]
        async with asyncio.timeout(LIMIT_S):
            while _pieces(pair, start) != "Hello":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        killed.process.kill()
        killed.process.wait()
        began = time.monotonic()
        end = await second.event("llm:stream:error", "s-1")
        took_s = time.monotonic() - began
        [late] = await second.call("llm:stream:attach", {"sessionId": "s-1"})
        listed = (await rest.get("/llm/streams")).json()
        reports = await second.quiet(for_s=0.5)
    assert (end["code"], end["partialResponse"]) == ("interrupted", "Hello")
    assert end["messageId"] == start["messageId"]
    assert took_s < 20
    assert late["ended"]["event"] == "llm:stream:error"
    assert late["text"] == "Hello"
    assert listed == {"streams": []}
    assert [r for r in reports if r["on"] == "event"] == []


def _pieces(pair: Pair, start: dict[str, Any]) -> str:
    """Return what is stored so far of a running answer."""
    rows = live.rows_of(
        pair.path,
        "SELECT text FROM llmchat_piece WHERE message_id = ? ORDER BY id",
        start["messageId"].replace("-", ""),
    )
    return "".join(text for (text,) in rows)
