"""What is measured of an answer: the server's own time, and not its provider's."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from uuid import uuid4

import pytest

import llmchat.overhead
from llmchat.answers import live_stream, runtime
from llmchat.answers.answer import cancel_stream
from llmchat.answers.events import Cancelled, Done
from llmchat.books.writer import Books
from llmchat.errors import ChatError
from llmchat.overhead import Overhead
from tests.support.chat_fixtures import end_of, until

BEGIN_S, PROVIDER_S, END_S = 2.0, 100.0, 3.0


class Clock:
    """A clock that stands still unless a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock on which storing a start takes `BEGIN_S`, and storing an end `END_S`."""
    clock = Clock()
    begin, end = Books.begin, Books.end

    async def slow_begin(*args):
        clock.now += BEGIN_S
        return await begin(*args)

    async def slow_end(*args, **options):
        clock.now += END_S
        return await end(*args, **options)

    monkeypatch.setattr(
        llmchat.overhead, "time", SimpleNamespace(monotonic=clock.monotonic)
    )
    monkeypatch.setattr(Books, "begin", slow_begin)
    monkeypatch.setattr(Books, "end", slow_end)
    return clock


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float | None, float]]:
    """What was noted of answers: the time for the first token, and for all of it."""
    noted: list[tuple[float | None, float]] = []
    overhead = Overhead()
    monkeypatch.setattr(
        overhead, "note", lambda *, first_s, whole_s: noted.append((first_s, whole_s))
    )
    monkeypatch.setattr(live_stream, "overhead", overhead)
    return noted


async def has_text(user) -> bool:
    stream = runtime.get().streams.find(user.pk, "s-1")
    return stream is not None and bool(stream.parts)


async def test_no_wait_for_a_provider_is_counted(
    user, provider, upstream, turn, clock, counted
):
    upstream.steps = (first := asyncio.Event(), "Hel", rest := asyncio.Event(), "lo")
    answer = asyncio.create_task(end_of(user, turn("Hi")))
    await upstream.received.wait()
    clock.now += PROVIDER_S
    first.set()
    await until(lambda: has_text(user))
    clock.now += PROVIDER_S
    rest.set()

    assert isinstance(await answer, Done)
    assert counted == [(BEGIN_S, BEGIN_S + END_S)]


async def test_an_answer_that_is_cancelled_before_its_text_has_no_first_token(
    user, provider, upstream, turn, clock, counted
):
    upstream.steps = (asyncio.Event(),)
    answer = asyncio.create_task(end_of(user, turn("Hi")))
    await upstream.received.wait()
    clock.now += PROVIDER_S
    cancel_stream(user_id=user.pk, session_id="s-1")

    assert isinstance(await answer, Cancelled)
    assert counted == [(None, BEGIN_S + END_S)]


async def test_a_turn_that_is_refused_is_no_answer(
    user, provider, turn, clock, counted
):
    with pytest.raises(ChatError):
        await end_of(user, turn("Hi", conversation_id=uuid4()))

    assert clock.now == BEGIN_S
    assert counted == []
