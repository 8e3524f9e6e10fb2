"""Turns that fail in an unforeseen way still get an end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import pytest

from accounts.verified import Verified
from llmchat.answers import runtime
from llmchat.api.namespace import ChatNamespace
from llmchat.api.visitors import Visitor
from llmchat.books.writer import Books
from llmchat.realtime.offsets import Marks


class Heard:
    """A socket that records what it and the acknowledgement are given."""

    writable = True
    is_broken = False

    def __init__(self, user_id: int) -> None:
        self.data = Visitor(Verified(user_id, time.time() + 60))
        self.marks = Marks()
        self.events: list[tuple[str, Any]] = []
        self.acks: list[Any] = []

    def emit(self, name: str, *args: Any) -> None:
        self.events.append((name, *args))

    def prepare(self, name: str) -> str:
        return f'"{name}":'

    def emit_prepared(
        self, prepared: str, *arguments: str, marks: Sequence[str] = ()
    ) -> None:
        if self.is_broken:
            raise RuntimeError("a secret")
        for one in arguments:
            self.events += json.loads(f"{{{prepared}{one}}}").items()

    def ack(self, value: Any) -> None:
        self.acks.append(value)


async def heard_of(user, *, is_broken: bool = False) -> Heard:
    heard, streams = Heard(user.pk), runtime.get().streams
    heard.is_broken = is_broken
    data = {
        "sessionId": "s-1",
        "provider": "test",
        "messages": [{"role": "user", "content": "Hi"}],
    }
    await ChatNamespace().chat_stream(heard, data, ack=heard.ack)
    (stream,) = streams.running()
    await stream.ended.wait()
    assert streams.running() == []
    assert not heard.data.running
    return heard


def broken(*args: object) -> None:
    raise RuntimeError("a secret")


async def broken_later(*args: object) -> None:
    broken()


async def test_a_start_that_fails_unexpectedly_gets_one_error_and_its_ack(
    user, provider, upstream, monkeypatch, caplog
):
    monkeypatch.setattr(Books, "begin", broken_later)
    heard = await heard_of(user)
    [(name, data)] = heard.events
    assert (name, data["sessionId"]) == ("llm:stream:error", "s-1")
    assert data["code"] == "internal_error"
    assert heard.acks == [
        {"ok": False, "error": data["error"], "code": "internal_error"}
    ]
    assert "secret" not in str(heard.events)
    assert "Traceback" in caplog.text


async def test_a_socket_that_breaks_later_gets_one_error_behind_its_start(
    user, provider, upstream, caplog
):
    upstream.steps = ("Hel", asyncio.Event())
    heard = await heard_of(user, is_broken=True)
    assert [name for name, _ in heard.events] == [
        "llm:stream:start",
        "llm:stream:error",
    ]
    assert heard.events[-1][1]["code"] == "internal_error"
    [ack] = heard.acks
    assert ack["ok"]
    assert "a reader of an answer failed" in caplog.text
    async with asyncio.timeout(20):
        await upstream.hung_up.wait()


@pytest.mark.parametrize("error", [RuntimeError, OSError])
async def test_a_provider_that_does_not_close_takes_nobody_s_end(
    user, provider, upstream, monkeypatch, caplog, error
):
    class Unclosed:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise StopAsyncIteration

        async def aclose(self):
            raise error("it does not close")

    monkeypatch.setattr(
        runtime.get().client, "stream_chat_batches", lambda *args, **kwargs: Unclosed()
    )
    heard = await heard_of(user)
    assert heard.events[-1][0] == "llm:stream:error"
    assert "a provider's stream could not be closed" in caplog.text
