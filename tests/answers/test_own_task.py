"""An answer's own task: what cancels it, what does not, and what it then costs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llmchat.answers import log
from llmchat.answers.answer import start_answer
from llmchat.answers.events import Cancelled, Done, Failed
from llmchat.answers.follower import Follower
from llmchat.answers.live_stream import LiveStream
from llmchat.books.turn import Outcome
from llmchat.books.writer import Books
from llmchat.database import in_database
from llmchat.errors import refusal
from llmchat.models import Message
from tests.support.chat_fixtures import registered, until

COUNTED = {
    "choices": [{"delta": {"content": "lo"}}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 50},
}


async def stored() -> list[tuple[str, str]]:
    rows = Message.objects.filter(role="assistant").values_list("state", "content")
    return await in_database(lambda: list(rows))


async def read(follower: Follower, text: str) -> None:
    """Read until this text has arrived."""
    seen = ""
    while seen != text:
        seen += "".join(await follower.read())


@pytest.mark.parametrize("how", ["cancelled", "cut off", "left"])
async def test_what_a_provider_has_counted_before_it_is_broken_off_is_booked(
    user, provider, upstream, turn, how
):
    upstream.steps = ("Hel", COUNTED, asyncio.Event())
    with registered(user, turn()) as stream:
        follower = Follower(stream)
        start_answer(turn("Hi"), stream)
        await read(follower, "Hello")
        if how == "left":
            await follower.leave()
        elif how == "cancelled":
            stream.cancel()
        else:
            stream.interrupt(refusal("draining"))
        await stream.ended.wait()
    row = await in_database(Message.objects.filter(role="assistant").get)
    assert (row.input_tokens, row.output_tokens) == (7, 50)
    assert row.usage_source == "provider"
    assert isinstance(stream.end, Failed if how == "cut off" else Cancelled)


@pytest.fixture
def slow_store(monkeypatch):
    """Hold the first write of an end until the event is set."""
    store, begins, go = Books.end, asyncio.Event(), asyncio.Event()

    async def slow(*args: Any, **options: Any) -> Outcome:
        begins.set()
        await asyncio.wait_for(go.wait(), 30)
        return await store(*args, **options)

    monkeypatch.setattr(Books, "end", slow)
    yield begins, go
    go.set()


async def test_no_second_cancel_stops_what_stores_the_end(
    user, provider, upstream, turn, slow_store
):
    begins, go = slow_store
    upstream.steps = ("Hel", asyncio.Event())
    with registered(user, turn()) as stream:
        follower = Follower(stream)
        start_answer(turn("Hi"), stream)
        await read(follower, "Hel")
        assert stream.cancel()
        assert stream.cancel()
        await begins.wait()
        assert not stream.cancel()
        leaving = asyncio.create_task(follower.leave())
        await asyncio.sleep(0)
        leaving.cancel()
        go.set()
        await stream.ended.wait()
    assert isinstance(stream.end, Cancelled)
    assert await stored() == [("cancelled", "Hel")]


async def test_a_whole_answer_cannot_be_cancelled_while_it_is_stored(
    user, provider, upstream, turn, slow_store
):
    begins, go = slow_store
    with registered(user, turn()) as stream:
        follower = Follower(stream)
        start_answer(turn("Hi"), stream)
        await begins.wait()
        assert not stream.cancel()
        await follower.leave()
        go.set()
        await stream.ended.wait()
    assert isinstance(stream.end, Done)
    assert await stored() == [("complete", "Hello")]


@pytest.mark.parametrize("left", [False, True], ids=["cancelled", "left"])
async def test_an_answer_that_waits_for_its_reader_is_cancelled_at_once(
    user, provider, upstream, turn, monkeypatch, left
):
    monkeypatch.setattr("llmchat.answers.log.MAX_BEHIND_CHARS", 8)
    upstream.steps = ("0123456789", "more", asyncio.Event())
    with registered(user, turn()) as stream:
        follower = Follower(stream)
        start_answer(turn("Hi"), stream)
        await follower.started()

        async def waits() -> bool:
            return stream.lags

        await until(waits)
        if left:
            await follower.leave()
        else:
            stream.cancel()
        async with asyncio.timeout(20):
            await upstream.hung_up.wait()
            await stream.ended.wait()
    assert await stored() == [("cancelled", "0123456789")]


async def test_a_cancel_and_a_failure_at_once_are_a_cancel(
    user, provider, upstream, turn
):
    upstream.cut = True
    upstream.steps = ("Hel", go := asyncio.Event())
    with registered(user, turn()) as stream:
        follower = Follower(stream)
        start_answer(turn("Hi"), stream)
        await read(follower, "Hel")
        go.set()
        stream.cancel()
        end = await follower.ended()
    assert isinstance(end, Cancelled)
    assert await stored() == [("cancelled", "Hel")]


async def test_a_reader_that_breaks_takes_nobody_else_s_answer(
    user, provider, upstream, turn, caplog
):
    class Broken(Follower):
        def more(self) -> None:
            raise RuntimeError("it breaks")

    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    with registered(user, turn()) as stream:
        broken, follower = Broken(stream), Follower(stream)
        start_answer(turn("Hi"), stream)
        await read(follower, "Hel")
        go.set()
        done = await follower.ended()
        failed = await broken.ended()
    assert isinstance(done, Done)
    assert isinstance(failed, Failed)
    assert failed.error.code == "internal_error"
    assert caplog.text.count("a reader of an answer failed") == 1


def test_no_more_readers_than_allowed():
    stream = LiveStream(1, "s-1")
    for _ in range(log.MAX_READERS):
        assert not stream.is_full
        Follower(stream)
    assert stream.is_full
