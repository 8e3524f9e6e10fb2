"""An operator stops, and deletes, what is being written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from accounts.deletion import delete_users
from accounts.models import User
from llmchat.answers import checkpoints, stopping
from llmchat.answers.events import Cancelled
from llmchat.books.turn import Turn
from llmchat.database import in_database
from llmchat.models import Conversation, Message, Provider
from tests.support.chat_fixtures import end_of, provider, turn, upstream, user
from tests.support.upstream import Upstream

__all__ = ["provider", "turn", "upstream", "user"]

LIMIT_S = 30.0

MakeTurn = Callable[..., Turn]


async def streaming(user: User, turn: Turn, upstream: Upstream) -> asyncio.Task[object]:
    """Start an answer that never ends by itself, and wait until it is asked for."""
    upstream.steps = ("Hel", asyncio.Event())
    task: asyncio.Task[object] = asyncio.create_task(end_of(user, turn))
    await upstream.received.wait()
    return task


async def test_a_stream_of_this_process_is_stopped_at_once(
    user: User,
    provider: Provider,
    upstream: Upstream,
    turn: MakeTurn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # That is what it is about: nobody waits for a checkpoint.
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 3600.0)
    answer = await streaming(user, turn("Hi"), upstream)

    running = await in_database(lambda: Message.objects.get(state="streaming").pk)
    assert await in_database(stopping.stop, Message.objects.all()) == [running]

    async with asyncio.timeout(LIMIT_S):
        assert isinstance(await answer, Cancelled)
        await upstream.hung_up.wait()


async def test_another_worker_s_mark_stops_a_stream_at_its_next_checkpoint(
    user: User, provider: Provider, upstream: Upstream, turn: MakeTurn
) -> None:
    answer = await streaming(user, turn("Hi"), upstream)

    await in_database(lambda: Message.objects.update(stop_requested=True))

    async with asyncio.timeout(LIMIT_S):
        assert isinstance(await answer, Cancelled)


async def test_only_what_is_asked_for_is_stopped(
    user: User, provider: Provider, upstream: Upstream, turn: MakeTurn
) -> None:
    answer = await streaming(user, turn("Hi"), upstream)

    assert await in_database(stopping.stop, Message.objects.none()) == []
    assert not answer.done()

    await in_database(stopping.stop, Message.objects.all())
    await answer


async def test_what_is_deleted_in_mid_stream_stays_deleted(
    user: User, provider: Provider, upstream: Upstream, turn: MakeTurn
) -> None:
    answer = await streaming(user, turn("Hi"), upstream)

    await in_database(stopping.delete, Conversation.objects.all())
    await answer

    assert not await in_database(Conversation.objects.exists)
    assert not await in_database(Message.objects.exists)


async def test_a_user_who_is_deleted_stops_streaming_and_leaves_nothing(
    user: User, provider: Provider, upstream: Upstream, turn: MakeTurn
) -> None:
    answer = await streaming(user, turn("Hi"), upstream)

    await in_database(delete_users, User.objects.filter(pk=user.pk))

    async with asyncio.timeout(LIMIT_S):
        await answer
        await upstream.hung_up.wait()
    assert not await in_database(User.objects.exists)
    assert not await in_database(Message.objects.exists)
