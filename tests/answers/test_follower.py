"""Waiting for the start of an answer that is stored already."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

from llmchat.answers.events import Failed, Started
from llmchat.answers.follower import Follower, is_begun
from llmchat.answers.live_stream import LiveStream
from llmchat.errors import refusal

MEANT = uuid4()


def started(message_id: UUID) -> Started:
    return Started("one", "test", "model-1", uuid4(), message_id, uuid4())


async def asked() -> tuple[LiveStream, asyncio.Task[bool]]:
    """Return an answer with a reader, and the question whether it is the one meant."""
    stream = LiveStream(1, "one")
    Follower(stream)
    is_meant = asyncio.create_task(is_begun(stream, MEANT))
    await asyncio.sleep(0)
    assert stream.joined == 2
    return stream, is_meant


async def test_whoever_asks_before_the_start_is_told_once_it_is_noted() -> None:
    stream, is_meant = await asked()
    stream.tell_started(started(MEANT))
    assert await is_meant
    assert not stream.cancelled
    assert await is_begun(stream, MEANT)
    assert stream.joined == 2


async def test_another_answer_of_the_same_name_is_not_meant() -> None:
    stream, is_meant = await asked()
    stream.tell_started(started(uuid4()))
    assert not await is_meant


async def test_an_answer_that_is_refused_has_not_begun() -> None:
    stream, is_meant = await asked()
    stream.close(Failed("one", refusal("session_active")))
    assert not await is_meant


async def test_the_last_reader_can_follow_the_answer_that_it_waited_for() -> None:
    stream = LiveStream(1, "one")
    asker = Follower(stream)

    async def follow() -> Follower:
        assert await is_begun(stream, MEANT)
        return Follower(stream)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    await asker.leave()
    stream.tell_started(started(MEANT))
    follower = await following
    await asyncio.sleep(0)
    assert not stream.cancelled
    stream.leave(follower)
    assert stream.cancelled
