"""An operator stops or deletes answers that are being written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

import pytest

from accounts.errors import UnfinishedError
from accounts.models import User
from llmchat.answers import checkpoints, stopping
from llmchat.answers.events import Cancelled
from llmchat.books.turn import Begun, Outcome, Turn
from llmchat.database import in_database
from llmchat.errors import ChatError
from llmchat.models import Conversation, Message, PastUse, Provider
from llmchat.providers.types import Usage
from tests.support.chat_fixtures import end_of, provider, turn, upstream, user
from tests.support.deletion import delete_users
from tests.support.turns import begin_turn, end_turn
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
    # No checkpoint comes: the test is that a stop does not wait for one.
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


USED = Usage(7, 3, "provider")


@pytest.fixture
def bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delete one conversation in a transaction, and one transaction in a request."""
    monkeypatch.setattr(stopping, "MOST_CONVERSATIONS", 1)
    monkeypatch.setattr(stopping, "BEGINS_S", 0.0)


async def test_nobody_begins_anything_as_a_user_who_is_being_deleted(
    user: User, provider: Provider, turn: MakeTurn, bit_by_bit: None
) -> None:
    users = User.objects.filter(pk=user.pk)

    def run() -> None:
        begun = begin_turn(user.pk, turn("Hi"))
        begin_turn(user.pk, turn("Ho", session_id="s-2"))
        with pytest.raises(UnfinishedError) as unfinished:
            delete_users(users)
        assert unfinished.value.args == (1, 1)
        with pytest.raises(ChatError) as refused:
            begin_turn(user.pk, turn("Hi", session_id="s-3"))
        assert refused.value.code == "token_invalid"
        # An answer that was being written is counted at its end, and only once.
        end_turn(begun, Outcome(Message.State.CANCELLED, "He", USED, "m"))
        delete_users(users)

    await in_database(run)
    assert not await in_database(User.objects.exists)
    assert not await in_database(Message.objects.exists)
    row = await in_database(PastUse.objects.get)
    assert (row.answers, row.input_tokens, row.output_tokens) == (1, 7, 3)


async def test_a_turn_that_goes_on_between_two_transactions_goes_along(
    user: User, provider: Provider, turn: MakeTurn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users who delete themselves can still begin turns in the meantime."""
    monkeypatch.setattr(stopping, "MOST_CONVERSATIONS", 1)
    begun: list[Begun] = []
    _batches = stopping._batches

    def meanwhile(sizes: Sequence[tuple[UUID, int]]) -> Iterator[list[UUID]]:
        for batch in _batches(sizes):
            if batch == [sizes[-1][0]]:
                more = turn("more", session_id="s-3", conversation_id=batch[0])
                begun.append(begin_turn(user.pk, more))
                begun.append(begin_turn(user.pk, turn("new", session_id="s-4")))
            yield batch

    def run() -> None:
        for text in ("Hi", "Ho"):
            outcome = Outcome(Message.State.COMPLETE, "He", USED, "m")
            end_turn(begin_turn(user.pk, turn(text)), outcome)
        monkeypatch.setattr(stopping, "_batches", meanwhile)
        delete_users(User.objects.filter(pk=user.pk), by=user.pk)
        assert not User.objects.exists()
        for late in begun:
            end_turn(late, Outcome(Message.State.CANCELLED, "He", USED, "m"))

    await in_database(run)
    assert len(begun) == 2
    assert not await in_database(Message.objects.exists)
    row = await in_database(PastUse.objects.get)
    assert (row.answers, row.input_tokens, row.output_tokens) == (4, 28, 12)
