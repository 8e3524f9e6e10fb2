"""The use case: a turn against a real HTTP provider, and what is stored of it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from decimal import Decimal

import pytest

from llmchat.answers import runtime
from llmchat.answers.answer import cancel_stream
from llmchat.answers.events import Cancelled, Done, Failed, Started, Token
from llmchat.answers.live_stream import LiveStream
from llmchat.books.writer import Books
from llmchat.database import in_database
from llmchat.errors import ChatError
from llmchat.models import Conversation, Message
from tests.support.chat_fixtures import (
    end_of,
    events_of,
    registered,
    stream_answer,
    until,
)


async def answers() -> list[Message]:
    """Return the stored answers in the order in which they were created."""
    rows = Message.objects.filter(role="assistant").order_by("created_at", "position")
    return await in_database(lambda: list(rows))


async def test_a_turn_is_started_streamed_and_done(user, provider, upstream, turn):
    start, *tokens, done = await events_of(user, turn("Hi", model="model-2"))

    assert isinstance(start, Started)
    assert start.model == "model-2"
    assert [token.text for token in tokens] == ["Hel", "lo"]
    assert isinstance(done, Done)
    assert (done.text, done.finish_reason) == ("Hello", "stop")
    assert (done.usage.output_tokens, done.usage.source) == (3, "provider")
    assert done.model == "upstream-1"
    assert upstream.requests[0]["messages"] == [{"role": "user", "content": "Hi"}]


async def test_a_whole_turn_is_stored_with_usage_cost_and_timing(
    user, provider, upstream, turn
):
    done = await end_of(user, turn("Hi"))

    (answer,) = await answers()
    assert answer.pk == done.message_id
    assert (answer.state, answer.content) == ("complete", "Hello")
    assert (answer.input_tokens, answer.output_tokens) == (7, 3)
    assert answer.cost == Decimal("0.000013")
    assert answer.created_at <= answer.first_token_at <= answer.finished_at


async def test_the_turn_is_in_the_database_before_the_provider_is_called(
    user, provider, upstream, turn, monkeypatch
):
    states = []
    begin_turn, answer = Books.begin, runtime.get().client.stream_chat_batches

    async def begin(*args):
        begun = await begin_turn(*args)
        rows = Message.objects.filter(role="assistant").values("state")
        states.extend(await in_database(lambda: list(rows)))
        return begun

    def ask(*args, **kwargs):
        states.append("asked")
        return answer(*args, **kwargs)

    monkeypatch.setattr(Books, "begin", begin)
    monkeypatch.setattr(runtime.get().client, "stream_chat_batches", ask)
    await events_of(user, turn("Hi"))
    assert states == [{"state": "streaming"}, "asked"]


async def test_three_turns_of_the_documented_client_are_one_conversation(
    user, provider, upstream, turn
):
    history: list[str] = []
    for number in range(3):
        history.append(f"question {number}")
        done = await end_of(user, turn(*history, session_id=f"s-{number}"))
        history.append(done.text)

    (conversation,) = await in_database(lambda: list(Conversation.objects.all()))
    messages = await in_database(
        lambda: list(conversation.messages.order_by("position"))
    )
    assert [message.content for message in messages] == history
    assert [message.position for message in messages] == list(range(6))
    assert conversation.message_count == 6
    assert conversation.title == "question 0"


async def test_cancelling_closes_the_provider_connection_in_mid_stream(
    user, provider, upstream, turn
):
    upstream.steps = ("Hel", asyncio.Event())
    seen = []
    with registered(user, turn()) as stream:
        async with aclosing(stream_answer(turn=turn("Hi"), stream=stream)) as events:
            async for event in events:
                seen.append(event)
                if isinstance(event, Token):
                    loop = asyncio.get_running_loop()
                    loop.call_later(0.05, cancel, user, "s-1")

    async with asyncio.timeout(20):
        await upstream.hung_up.wait()
    assert [type(event) for event in seen] == [Started, Token, Cancelled]
    assert seen[-1].partial == "Hel"
    (answer,) = await answers()
    assert (answer.state, answer.content) == ("cancelled", "Hel")
    assert answer.usage_source == "estimated"
    assert asyncio.current_task().cancelling() == 0


def cancel(user, session_id):
    return cancel_stream(user_id=user.pk, session_id=session_id)


async def test_cancelling_before_the_first_token_closes_the_provider_connection(
    user, provider, upstream, turn
):
    upstream.steps = (asyncio.Event(),)
    running = asyncio.create_task(events_of(user, turn("Hi")))
    await upstream.received.wait()
    assert cancel(user, "s-1")

    events = await running
    async with asyncio.timeout(20):
        await upstream.hung_up.wait()
    assert [type(event) for event in events] == [Started, Cancelled]


async def test_cancelling_before_the_provider_is_called_never_calls_it(
    user, provider, upstream, turn
):
    with registered(user, turn()) as stream:
        assert cancel(user, "s-1")
        events = stream_answer(turn=turn("Hi"), stream=stream)
        kinds = [type(event) async for event in events]
    assert kinds == [Started, Cancelled]
    assert not upstream.requests


async def test_cancelling_closes_the_connection_while_the_consumer_is_busy(
    user, provider, upstream, turn
):
    upstream.steps = ("Hel", asyncio.Event())
    with registered(user, turn()) as stream:
        async with aclosing(stream_answer(turn=turn("Hi"), stream=stream)) as events:
            await anext(events)
            await anext(events)
            assert cancel(user, "s-1")
            async with asyncio.timeout(20):
                await upstream.hung_up.wait()
            assert isinstance(await anext(events), Cancelled)


async def test_an_ended_stream_cannot_be_cancelled(user, provider, upstream, turn):
    await events_of(user, turn("Hi"))
    assert cancel(user, "s-1") is None


async def test_nobody_can_cancel_the_stream_of_another_user(
    user, provider, upstream, turn
):
    upstream.steps = (asyncio.Event(),)
    running = asyncio.create_task(events_of(user, turn("Hi")))
    await upstream.received.wait()

    assert cancel_stream(user_id=user.pk + 1, session_id="s-1") is None
    assert cancel(user, "s-1")
    await running


async def test_a_consumer_that_goes_away_cancels_the_turn(
    user, provider, upstream, turn
):
    upstream.steps = ("Hel", asyncio.Event())
    with registered(user, turn()) as stream:
        async with aclosing(stream_answer(turn=turn("Hi"), stream=stream)) as events:
            await anext(events)
            await anext(events)

    async with asyncio.timeout(20):
        await upstream.hung_up.wait()
    (answer,) = await answers()
    assert (answer.state, answer.content) == ("cancelled", "Hel")


async def test_a_consumer_task_that_is_cancelled_stores_the_turn_as_cancelled(
    user, provider, upstream, turn
):
    upstream.steps = ("Hel", asyncio.Event())
    running = asyncio.create_task(events_of(user, turn("Hi")))
    await upstream.received.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    (answer,) = await answers()
    assert answer.state == "cancelled"
    assert runtime.get().streams.running() == []


async def test_a_task_cancelled_while_the_turn_is_stored_leaves_nothing_streaming(
    user, provider, upstream, turn
):
    running = asyncio.create_task(events_of(user, turn("Hi")))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await runtime.shutdown()

    assert [answer.state for answer in await answers()] == ["cancelled"]


async def test_a_cut_answer_fails_with_its_partial_text(user, provider, upstream, turn):
    upstream.cut = True
    failed = await end_of(user, turn("Hi"))

    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.partial) == ("provider_error", "Hello")
    (answer,) = await answers()
    assert (answer.state, answer.error_code) == ("error", "provider_error")
    assert answer.content == "Hello"


async def test_a_refused_key_is_told_in_our_own_words(user, provider, upstream, turn):
    upstream.status = 401
    failed = await end_of(user, turn("Hi"))

    assert isinstance(failed, Failed)
    assert failed.error.code == "provider_auth"
    assert "sk-secret" not in failed.error.text


async def test_without_the_providers_count_the_deltas_are_counted(
    user, provider, upstream, turn
):
    upstream.usage = None
    done = await end_of(user, turn("Hi"))

    assert (done.usage.output_tokens, done.usage.source) == (2, "estimated")


async def test_an_active_session_id_refuses_a_second_stream(
    user, provider, upstream, turn
):
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    running = asyncio.create_task(events_of(user, turn("Hi")))
    await upstream.received.wait()
    with pytest.raises(ChatError) as refused:
        await events_of(user, turn("Hi"))
    go.set()

    assert refused.value.code == "session_active"
    assert isinstance((await running)[-1], Done)
    assert isinstance(await end_of(user, turn("Hi")), Done)


async def test_a_session_id_that_is_active_in_another_process_is_refused(
    user, provider, upstream, turn
):
    upstream.steps = (go := asyncio.Event(), "Hi")
    running = asyncio.create_task(events_of(user, turn("Hi")))
    await upstream.received.wait()
    elsewhere = LiveStream(user.pk, "s-1")
    with pytest.raises(ChatError) as refused:
        await anext(stream_answer(turn=turn("Hi"), stream=elsewhere))
    go.set()
    await running

    assert refused.value.code == "session_active"


async def test_more_streams_than_allowed_are_refused(
    user, provider, upstream, turn, settings
):
    settings.LLMCHAT = settings.LLMCHAT | {"max_streams_per_user": 2}
    upstream.steps = (go := asyncio.Event(), "Hi")
    running = [
        asyncio.create_task(events_of(user, turn("Hi", session_id=f"s-{n}")))
        for n in range(2)
    ]

    async def are_running() -> bool:
        return len(upstream.requests) == 2

    await until(are_running)
    with pytest.raises(ChatError) as refused:
        await events_of(user, turn("Hi", session_id="s-9"))
    go.set()
    await asyncio.gather(*running)

    assert refused.value.code == "too_many_streams"


async def test_an_unknown_provider_is_refused(user, transactional_db, upstream, turn):
    with pytest.raises(ChatError) as refused:
        await events_of(user, turn("Hi"))
    assert refused.value.text == "Provider not found"


async def test_a_provider_without_its_key_is_refused(user, provider, turn):
    provider.needs_key = True
    await in_database(provider.save)
    with pytest.raises(ChatError) as refused:
        await events_of(user, turn("Hi"))
    assert refused.value.text == "Test API key not configured"


async def test_an_inactive_user_is_refused(user, provider, turn):
    user.is_active = False
    await in_database(user.save)
    with pytest.raises(ChatError) as refused:
        await events_of(user, turn("Hi"))
    assert refused.value.code == "token_invalid"


async def test_a_refused_turn_stores_nothing(user, provider, turn):
    user.is_active = False
    await in_database(user.save)
    with pytest.raises(ChatError):
        await events_of(user, turn("Hi"))
    assert await in_database(Conversation.objects.count) == 0
