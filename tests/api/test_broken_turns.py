"""Turns that fail in a way that nobody has thought of still get an end."""

from __future__ import annotations

from typing import Any

import pytest

from llmchat.answers import runtime
from llmchat.api import namespace
from llmchat.books.writer import Books


class Heard:
    """What a client's socket and its acknowledgement are given."""

    writable = True

    def __init__(self) -> None:
        self.data = namespace.Visitor(user_id=1, expires_at=float("inf"))
        self.events: list[tuple[str, Any]] = []
        self.acks: list[Any] = []

    def emit(self, name: str, *args: Any) -> None:
        self.events.append((name, *args))

    def ack(self, value: Any) -> None:
        self.acks.append(value)


async def heard_of(user, turn) -> Heard:
    heard, streams = Heard(), runtime.get().streams
    stream = streams.register(user.pk, turn.session_id)
    await namespace._answer(heard, turn, stream, heard.ack)
    assert streams.running() == []
    return heard


def broken(*args: object) -> None:
    raise RuntimeError("a secret")


async def broken_later(*args: object) -> None:
    broken()


async def test_a_start_that_fails_unexpectedly_gets_one_error_and_its_ack(
    user, provider, upstream, turn, monkeypatch, caplog
):
    monkeypatch.setattr(Books, "begin", broken_later)
    heard = await heard_of(user, turn("Hi"))
    [(name, data)] = heard.events
    assert (name, data["sessionId"]) == ("llm:stream:error", "s-1")
    assert data["code"] == "internal_error"
    assert heard.acks == [
        {"ok": False, "error": data["error"], "code": "internal_error"}
    ]
    assert "secret" not in str(heard.events)
    assert "Traceback" in caplog.text


async def test_a_turn_that_breaks_later_gets_one_error_behind_its_start(
    user, provider, upstream, turn, monkeypatch, caplog
):
    monkeypatch.setattr(namespace.TokenWriter, "write", broken)
    heard = await heard_of(user, turn("Hi"))
    assert [name for name, _ in heard.events] == [
        "llm:stream:start",
        "llm:stream:error",
    ]
    assert heard.events[-1][1]["code"] == "internal_error"
    [ack] = heard.acks
    assert ack["ok"]
    assert "a turn broke" in caplog.text


@pytest.mark.parametrize("error", [RuntimeError, OSError])
async def test_a_provider_that_does_not_close_takes_nobody_s_end(
    user, provider, upstream, turn, monkeypatch, caplog, error
):
    class Unclosed:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise StopAsyncIteration

        async def aclose(self):
            raise error("it does not close")

    monkeypatch.setattr(
        runtime.get().client, "stream_chat", lambda *args, **kwargs: Unclosed()
    )
    heard = await heard_of(user, turn("Hi"))
    assert heard.events[-1][0] == "llm:stream:error"
    assert "a provider's stream did not close" in caplog.text
