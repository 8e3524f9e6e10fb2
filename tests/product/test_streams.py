"""Streams over the stock client, from the polling handshake to the stored rows."""

from __future__ import annotations

import json
import time
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.support.live import LiveServer
from tests.support.stock_client import ENDS, OLDER, connected_client

LONG_TASK = "Tell me a long story about a lighthouse keeper and his dog."
TRANSPORTS = {
    "default": None,
    "polling": ("polling",),
    "websocket": ("websocket",),
}

Events = list[tuple[str, dict[str, Any]]]


def assert_whole_answer(events: Events) -> dict[str, Any]:
    """Check a finished stream against the contract and return its last payload."""
    names = [name for name, _ in events]
    assert names[0] == "llm:stream:start"
    assert set(names[1:-1]) == {"llm:stream:token"}
    assert names[-1] == "llm:stream:done"
    done = events[-1][1]
    assert "".join(text_of(events)) == done["fullResponse"]
    return done


def text_of(events: Events) -> list[str]:
    """Return the pieces of text that were streamed."""
    return [data["token"] for name, data in events if name == "llm:stream:token"]


@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS)
async def test_answer_streams_over_each_transport(
    server: LiveServer, transports: tuple[str, ...] | None
) -> None:
    account = server.account()
    async with connected_client(
        server.url, account.access, transports=transports
    ) as client:
        if transports is None:
            assert (await client.on("upgrade"))["transport"] == "websocket"
        events = await client.ask("one", "Hi!", maxTokens=12)
    assert_whole_answer(events)


@pytest.mark.parametrize("package", OLDER)
async def test_answer_streams_to_older_clients(
    server: LiveServer, package: str
) -> None:
    account = server.account()
    async with connected_client(server.url, account.access, package=package) as client:
        events = await client.ask("one", "Hi!", maxTokens=12)
    assert_whole_answer(events)


async def test_stream_begun_while_upgrading_loses_nothing(server: LiveServer) -> None:
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        events = await client.ask("one", "Hi!", maxTokens=32)
        assert (await client.on("upgrade"))["transport"] == "websocket"
    assert_whole_answer(events)


async def test_events_have_the_documented_fields(server: LiveServer) -> None:
    account = server.account()
    before = time.time() * 1000
    async with connected_client(server.url, account.access) as client:
        events = await client.ask("one", "Hi!", maxTokens=12)
    after = time.time() * 1000
    start, done = events[0][1], assert_whole_answer(events)
    for _, data in events:
        assert data["sessionId"] == "one"
        assert type(data["timestamp"]) is int
        assert before - 1 <= data["timestamp"] <= after + 1
    assert start["provider"] == done["provider"] == "local"
    assert start["model"] == done["model"] != ""
    assert start["conversationId"] == done["conversationId"]
    assert start["messageId"] == done["messageId"]
    assert done["finishReason"] in {"stop", "length"}
    assert 1 <= done["tokenCount"] <= 12
    assert done["usage"]["outputTokens"] == done["tokenCount"]
    assert done["usage"]["inputTokens"] > 0
    assert done["usage"]["source"] == "provider"


async def test_streams_of_one_socket_run_side_by_side(server: LiveServer) -> None:
    account = server.account()
    names = ["one", "two", "three", "four"]
    async with connected_client(server.url, account.access) as client:
        for name in names:
            await client.start(name, f"Count to {name}.", maxTokens=12)
        streams = [await client.stream(name) for name in names]
    for name, events in zip(names, streams, strict=True):
        assert {data["sessionId"] for _, data in events} == {name}
        assert_whole_answer(events)
    assert len({events[0][1]["conversationId"] for events in streams}) == 4


async def test_cancel_ends_the_stream_and_keeps_its_text(server: LiveServer) -> None:
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        await client.start("one", LONG_TASK, maxTokens=500)
        first = await client.event("llm:stream:token", "one")
        cancels = server.model_cancels()
        asked = time.monotonic()
        await client.emit("llm:stream:cancel", {"sessionId": "one"})
        events = await client.stream("one")
        assert time.monotonic() - asked < 20
        late = await client.quiet(for_s=0.3)
    await server.model_cancels_soon(cancels + 1)
    assert events[-1][0] == "llm:stream:cancelled"
    assert events[-1][1]["partialResponse"] == first["token"] + "".join(text_of(events))
    assert not [report for report in late if report["on"] == "event"]
    message_id = UUID(events[-1][1]["messageId"]).hex
    stored = await server.rows_soon(
        "SELECT content FROM llmchat_message WHERE id = ? AND state = 'cancelled'",
        message_id,
        count=1,
    )
    assert stored == [(events[-1][1]["partialResponse"],)]


async def test_cancel_before_the_first_token_ends_the_stream(
    server: LiveServer,
) -> None:
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        await client.start("one", LONG_TASK, maxTokens=500)
        await client.emit("llm:stream:cancel", {"sessionId": "one"})
        events = await client.stream("one")
        late = await client.quiet(for_s=0.3)
    assert events[-1][0] == "llm:stream:cancelled"
    assert not [report for report in late if report["on"] == "event"]


async def test_cancel_works_from_another_socket_of_the_user(
    server: LiveServer,
) -> None:
    account = server.account()
    async with (
        connected_client(server.url, account.access) as client,
        connected_client(server.url, account.access) as other,
    ):
        await client.start("one", LONG_TASK, maxTokens=500)
        await client.event("llm:stream:token", "one")
        await other.emit("llm:stream:cancel", {"sessionId": "one"})
        events = await client.stream("one")
    assert events[-1][0] == "llm:stream:cancelled"


async def test_cancelling_twice_ends_a_stream_once(server: LiveServer) -> None:
    account = server.account()
    url = server.url + "/socket.io/"
    query = {"EIO": "4", "transport": "polling"}
    cancel = '42["llm:stream:cancel",{"sessionId":"one"}]'
    async with (
        connected_client(server.url, account.access) as client,
        httpx.AsyncClient(params=query, timeout=10) as other,
    ):
        # Long-polling, so that both cancels of this socket arrive in one body.
        opened = json.loads((await other.get(url)).text[1:])
        other.params = other.params.set("sid", opened["sid"])
        await other.post(url, content="40" + json.dumps({"token": account.access}))
        assert (await other.get(url)).text.startswith("40{")
        await client.start("one", LONG_TASK, maxTokens=500)
        await client.event("llm:stream:token", "one")
        await other.post(url, content=f"{cancel}\x1e{cancel}")
        events = await client.stream("one")
        late = await client.quiet(for_s=0.3)
        told = (await other.get(url)).text.split("\x1e")
    assert events[-1][0] == "llm:stream:cancelled"
    assert not [report for report in late if report["on"] == "event"]
    heard = [json.loads(packet[2:]) for packet in told]
    # The end from another machine may arrive before the second cancel is handled.
    is_late = heard[1:] and heard[-1][1].get("code") == "stream_not_found"
    if len(server.pids) > 1 and is_late:
        heard.pop()
    assert [event[0] for event in heard] == ["llm:stream:cancelled"]


async def test_another_user_can_not_cancel_a_stream(server: LiveServer) -> None:
    owner, stranger = server.account(), server.account()
    async with (
        connected_client(server.url, owner.access) as client,
        connected_client(server.url, stranger.access) as other,
    ):
        await client.start("one", LONG_TASK, maxTokens=32)
        await client.event("llm:stream:token", "one")
        await other.emit("llm:stream:cancel", {"sessionId": "one"})
        refused = await other.event("llm:stream:error")
        events = await client.stream("one")
    assert refused["code"] == "stream_not_found"
    assert events[-1][0] == "llm:stream:done"


async def test_second_stream_of_the_same_session_is_refused(
    server: LiveServer,
) -> None:
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        await client.start("one", LONG_TASK, maxTokens=48)
        await client.event("llm:stream:token", "one")
        await client.start("one", "Hi!", maxTokens=12)
        refused = await client.event("llm:stream:error", "one")
        while (await client.until(is_event, "an event"))["name"] not in ENDS:
            pass
        again = await client.ask("one", "Hi!", maxTokens=12)
    assert refused["code"] == "session_active"
    assert_whole_answer(again)


def is_event(report: dict[str, Any]) -> bool:
    """Return whether a report is an event, not one of the client's own reports."""
    return bool(report["on"] == "event")


async def test_fifth_stream_at_once_is_refused(server: LiveServer) -> None:
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        for name in "abcd":
            await client.start(name, LONG_TASK, maxTokens=500)
        for name in "abcd":
            await client.event("llm:stream:start", name)
        refused = await client.ask("e", "Hi!")
        for name in "abcd":
            await client.emit("llm:stream:cancel", {"sessionId": name})
        ends = [(await client.stream(name))[-1][0] for name in "abcd"]
    ((name, error),) = refused
    assert (name, error["code"]) == ("llm:stream:error", "too_many_streams")
    assert error["retryAfter"] > 0
    assert ends == ["llm:stream:cancelled"] * 4


async def test_ack_callbacks_are_answered(server: LiveServer) -> None:
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        request = {
            "sessionId": "one",
            "provider": "local",
            "messages": [{"role": "user", "content": LONG_TASK}],
            "maxTokens": 500,
        }
        accepted = await client.call("llm:chat:stream", request)
        cancelled = await client.call("llm:stream:cancel", {"sessionId": "one"})
        events = await client.stream("one")
        unknown = await client.call("llm:stream:cancel", {"sessionId": "one"})
        refused = await client.call("llm:chat:stream", {"sessionId": "two"})
    end = events[-1][1]
    place = {n: end[n] for n in ("conversationId", "messageId", "questionId")}
    assert accepted == [{"ok": True, **place}]
    assert cancelled == [{"ok": True, **place}]
    assert (unknown[0]["ok"], unknown[0]["code"]) == (False, "stream_not_found")
    assert (refused[0]["ok"], refused[0]["code"]) == (False, "bad_request")
    assert isinstance(refused[0]["error"], str)


async def test_three_turns_are_one_conversation_of_six_messages(
    server: LiveServer,
) -> None:
    account = server.account()
    history: list[dict[str, str]] = []
    places: set[str] = set()
    async with connected_client(server.url, account.access) as client:
        for turn, question in enumerate(("Hi!", "What is Bitcoin?", "Thank you.")):
            history.append({"role": "user", "content": question})
            events = await client.ask(
                f"turn-{turn}", question, messages=history, maxTokens=12
            )
            done = assert_whole_answer(events)
            history.append({"role": "assistant", "content": done["fullResponse"]})
            places.add(done["conversationId"])
    assert len(places) == 1
    rows = server.rows(
        "SELECT role, content, state FROM llmchat_message"
        " WHERE conversation_id = ? ORDER BY position",
        UUID(places.pop()).hex,
    )
    assert rows == [(m["role"], m["content"], "complete") for m in history]


async def test_stream_goes_on_after_a_lost_connection(server: LiveServer) -> None:
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        await client.start("one", LONG_TASK, maxTokens=60)
        first = [await client.event("llm:stream:token", "one")]
        await client.drop()
        await client.on("disconnect")
        assert (await client.on("connect"))["recovered"] is True
        events = await client.stream("one")
    assert events[-1][0] == "llm:stream:done"
    text = first[0]["token"] + "".join(text_of(events))
    assert text == events[-1][1]["fullResponse"]
