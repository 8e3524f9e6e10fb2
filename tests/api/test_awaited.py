"""A client that cancels or attaches to what its socket waits for hears of one end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from llmchat.answers import runtime
from llmchat.answers.live_stream import LiveStream
from llmchat.api import moves
from llmchat.api.awaited import Awaited
from llmchat.api.listening import cancel_elsewhere
from llmchat.api.namespace import ChatNamespace
from llmchat.api.socket_reader import log_of
from llmchat.api.visitors import visitor_of
from tests.api.test_attach import Client, first_token, has_ended

# Of "Hello", which is written so far, the client has three characters.
HAS, LACKS = 3, "lo"

Come = Callable[[Client, LiveStream], None]


@pytest.fixture
def database_answers(monkeypatch) -> asyncio.Event:
    """Until it is set, the database says nothing of what a socket waits for."""
    event, insist = asyncio.Event(), moves._insist

    async def insist_later(ask: Any) -> Any:
        await event.wait()
        return await insist(ask)

    monkeypatch.setattr(moves, "_insist", insist_later)
    return event


@pytest.fixture
async def stream(user, provider, upstream) -> LiveStream:
    upstream.steps = ("Hello", asyncio.Event())
    owner = Client(user)
    await owner.ask()
    await first_token(owner)
    [stream] = runtime.get().streams.running()
    return stream


def revive(client: Client, stream: LiveStream) -> None:
    assert stream.started is not None
    ChatNamespace().revived(client, {log_of(stream.started.message_id): HAS})


def move(client: Client, stream: LiveStream) -> None:
    assert stream.started is not None
    ident = stream.started.message_id.hex
    state = ChatNamespace().move_out(client, "here")
    state["heard"] = [[ident, stream.session_id, HAS, True]]
    ChatNamespace().move_in(client, state)


@pytest.fixture(params=[revive, move])
def come(request) -> Come:
    """How the socket has come here."""
    return request.param


async def is_awaited_no_more(client: Client, database_answers: asyncio.Event) -> None:
    database_answers.set()
    while pending := [task for task in client._tasks if not task.done()]:
        async with asyncio.timeout(5):
            await asyncio.wait(pending)
    assert visitor_of(client).awaited == Awaited()


@pytest.mark.parametrize("has_ended_before", [False, True])
async def test_whoever_cancels_what_it_waits_for_hears_of_one_end(
    user, stream, come, database_answers, has_ended_before
):
    client = Client(user)
    come(client, stream)
    cancel = {"sessionId": stream.session_id}
    await ChatNamespace().cancel(client, cancel, ack=client.acks.append)
    if has_ended_before:
        await stream.ended.wait()
        await has_ended(client)
    await is_awaited_no_more(client, database_answers)
    await has_ended(client)
    [(name, end)] = client.ends
    assert (name, end["partialResponse"]) == ("llm:stream:cancelled", "Hello")
    assert client.tokens == [LACKS]
    assert client.events[-1][0] == name
    assert [ack["ok"] for ack in client.acks] == [True]


@pytest.mark.parametrize("is_over", [False, True], ids=["running", "ended"])
async def test_whoever_attaches_to_what_it_waits_for_hears_of_one_end(
    user, stream, come, database_answers, is_over
):
    client = Client(user)
    come(client, stream)
    if is_over:
        stream.cancel()
        await stream.ended.wait()
    ack = await client.attach(sessionId=stream.session_id)
    # What it lacks is not to come behind the text that has it.
    assert (ack["text"], client.tokens) == ("Hello", [LACKS])
    stream.cancel()
    await stream.ended.wait()
    await is_awaited_no_more(client, database_answers)
    await has_ended(client)
    [(name, end)] = client.ends
    assert (name, end["partialResponse"]) == ("llm:stream:cancelled", "Hello")
    assert client.tokens == [LACKS]


@pytest.mark.parametrize("ends", ["asking", "behind"])
async def test_whoever_cancels_elsewhere_what_it_waits_for_hears_of_one_end(
    user, stream, come, database_answers, monkeypatch, ends
):
    """It is told while the other worker is asked to stop, or behind that."""
    client = Client(user)
    come(client, stream)
    stop = stream.stop

    async def stop_slowly(_: LiveStream) -> bool:
        is_stopped = await stop()
        if ends == "asking":
            database_answers.set()
            await stream.ended.wait()
            await has_ended(client)
        return is_stopped

    monkeypatch.setattr(LiveStream, "stop", stop_slowly)
    assert await cancel_elsewhere(client, stream)
    await has_ended(client)
    await is_awaited_no_more(client, database_answers)
    [(name, end)] = client.ends
    assert (name, end["partialResponse"]) == ("llm:stream:cancelled", "Hello")
    assert client.tokens == [LACKS]


async def test_who_was_told_more_than_is_here_hears_nothing_twice(
    user, stream, database_answers
):
    client = Client(user)
    assert stream.started is not None
    log = log_of(stream.started.message_id)
    ChatNamespace().revived(client, {log: len("Hello") + 2})
    cancel = {"sessionId": stream.session_id}
    await ChatNamespace().cancel(client, cancel, ack=client.acks.append)
    stream.push(["!!?"])
    await is_awaited_no_more(client, database_answers)
    await has_ended(client)
    assert (client.tokens, len(client.ends)) == (["?"], 1)


async def test_an_answer_that_is_not_found_ends_once_though_its_socket_is_made_anew(
    user, stream, database_answers, monkeypatch
):
    """The client says which answers it is being told: no more one that has ended."""
    client = Client(user)
    assert stream.started is not None
    client.marks.note(log_of(stream.started.message_id), HAS)
    move(client, stream)
    stream.cancel()
    await stream.ended.wait()
    runtime.get().streams._ended.clear()
    monkeypatch.setattr(runtime.get().mirrors, "find", find_nothing)
    await is_awaited_no_more(client, database_answers)
    [(name, end)] = client.ends
    assert (name, end["code"]) == ("llm:stream:error", "stream_not_found")
    assert str(client.marks) == ""


async def find_nothing(*_: Any) -> None:
    return None
