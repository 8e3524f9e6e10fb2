"""Fixtures of the tests that run a turn in this process, against a real upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from threading import Event

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper
from django.db.models import Model

from llmchat import models
from llmchat.answers import runtime
from llmchat.answers.answer import start_answer
from llmchat.answers.events import End, StreamEvent, Token
from llmchat.answers.follower import Follower
from llmchat.answers.live_stream import LiveStream
from llmchat.books.turn import Turn
from llmchat.database import in_database
from llmchat.providers.types import ChatMessage
from tests.support.upstream import Upstream, running_upstream

User = get_user_model()
__all__ = ["events_of", "provider", "turn", "upstream", "user"]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A provider's server; the runtime of this process is shut down after the test."""
    async with running_upstream() as server:
        yield server
        await runtime.shutdown()


@pytest.fixture
async def provider(transactional_db: None, upstream: Upstream) -> models.Provider:
    """A provider `test` that needs no key and costs 1 and 2 dollars a million."""

    def make() -> models.Provider:
        return models.Provider.objects.create(
            name="test",
            label="Test",
            protocol="openai",
            base_url=upstream.base_url,
            default_model="model-1",
            needs_key=False,
            input_price=1,
            output_price=2,
        )

    return await in_database(make)


@pytest.fixture
async def user(transactional_db: None) -> Model:
    """An active user."""
    return await in_database(lambda: User.objects.create_user("ann"))


@pytest.fixture
def turn() -> Callable[..., Turn]:
    """Make a turn from texts, alternately the user's and the assistant's."""

    def make(*texts: str, session_id: str = "s-1", **fields: object) -> Turn:
        roles = ("user", "assistant")
        messages = tuple(
            ChatMessage(roles[index % 2], text)  # type: ignore[arg-type]
            for index, text in enumerate(texts or ("Hi",))
        )
        return Turn(session_id, "test", messages, **fields)  # type: ignore[arg-type]

    return make


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds that no event announces."""
    async with asyncio.timeout(30):
        while True:
            if await check():
                return
            await asyncio.sleep(0.01)


async def is_waiting() -> bool:
    """Return whether a statement waits for a lock."""

    def read() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return bool(cursor.fetchone()[0])

    return await in_database(read)


async def meet(
    first: Callable[[], object],
    reached: Event,
    second: Callable[[], object],
    go_on: Event,
) -> None:
    """Let two transactions want the same rows, and wait until both are done.

    `first` sets `reached` once it holds its locks, and waits for `go_on`. By then
    `second` waits for a lock.
    """
    earlier = asyncio.create_task(in_database(first))
    await asyncio.to_thread(reached.wait)
    later = asyncio.create_task(in_database(second))
    await until(is_waiting)
    go_on.set()
    await earlier
    await later


@contextmanager
def broken_database(
    statement: str, error: type[Exception] = OperationalError
) -> Iterator[None]:
    """Fail every SQL statement that begins like this, as if the server were gone."""
    execute = CursorWrapper._execute_with_wrappers

    def fail(cursor, sql, params, many, executor):
        if sql.startswith(statement):
            raise error("no connection")
        return execute(cursor, sql, params, many, executor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CursorWrapper, "_execute_with_wrappers", fail)
        yield


@contextmanager
def registered(
    user: Model, turn: Turn, key_id: int | None = None
) -> Iterator[LiveStream]:
    """Register the turn's stream, and release it at the end."""
    streams = runtime.get().streams
    stream = streams.register(user.pk, turn.session_id, key_id)
    try:
        yield stream
    finally:
        streams.release(stream)


async def stream_answer(
    *, turn: Turn, stream: LiveStream
) -> AsyncGenerator[StreamEvent, None]:
    """Start an answer and yield its events, `Started` first.

    Closing the generator leaves the answer.

    Raises: ChatError, before the first event only.
    """
    follower = Follower(stream)
    start_answer(turn, stream)
    try:
        yield await follower.started()
        while texts := await follower.read():
            for text in texts:
                yield Token(stream.session_id, text)
        yield await follower.ended()
    finally:
        await follower.leave()


async def events_of(
    user: Model, turn: Turn, key_id: int | None = None
) -> list[StreamEvent]:
    """Run a turn and return all of its events."""
    with registered(user, turn, key_id) as stream:
        return [event async for event in stream_answer(turn=turn, stream=stream)]


async def end_of(user: Model, turn: Turn) -> End:
    """Run a turn and return its last event."""
    return (await events_of(user, turn))[-1]  # type: ignore[return-value]
