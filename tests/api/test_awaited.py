"""A client that cancels, or attaches to, what its socket awaits gets one end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from accounts.verified import Verified
from llmchat.answers import runtime
from llmchat.answers.live_stream import LiveStream
from llmchat.answers.log import AnswerLog
from llmchat.api import moves, namespace
from llmchat.api.awaited import Awaited
from llmchat.api.listening import cancel_elsewhere
from llmchat.api.namespace import ChatNamespace
from llmchat.api.socket_reader import log_name
from llmchat.api.visitors import visitor_of
from llmchat.database import in_database
from llmchat.errors import refusal
from llmchat.models import Message
from tests.api.test_attach import Client, first_token, has_ended
from tests.support.chat_fixtures import until

# The text so far is "Hello", and the client has three characters of it.
HAS, LACKS = 3, "lo"

Come = Callable[[Client, LiveStream], None]


@pytest.fixture
def database_answers(monkeypatch) -> asyncio.Event:
    """Until it is set, the database does not answer about what a socket awaits."""
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
    ChatNamespace().revived(client, {log_name(stream.started.message_id): HAS})


def move(client: Client, stream: LiveStream) -> None:
    assert stream.started is not None
    ident = stream.started.message_id.hex
    state = ChatNamespace().move_out(client, "here")
    state["heard"] = [[ident, stream.session_id, HAS, True]]
    ChatNamespace().move_in(client, state)


@pytest.fixture(params=[revive, move])
def come(request) -> Come:
    """How the socket got here: its worker is gone, or it has moved."""
    return request.param


async def is_awaited_no_more(client: Client, database_answers: asyncio.Event) -> None:
    database_answers.set()
    while pending := [task for task in client._tasks if not task.done()]:
        async with asyncio.timeout(20):
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


async def test_whoever_waits_hears_the_end_though_its_token_has_ended(
    user, stream, come, database_answers
):
    client = Client(user)
    come(client, stream)
    client.data.verified = Verified(user.pk, time.time() - 1)
    await client.ask("another")
    assert client.data.leaving
    assert not client.is_closed
    stream.cancel()
    await stream.ended.wait()
    await is_awaited_no_more(client, database_answers)
    [(_, refused), (name, end)] = client.ends
    assert (refused["sessionId"], refused["code"]) == ("another", "token_expired")
    assert (name, end["partialResponse"]) == ("llm:stream:cancelled", "Hello")
    assert client.is_closed


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
    # The text that it lacks must not follow the ack, which holds it already.
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
    """The end arrives while the other worker is being asked to stop, or after that."""
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
    log = log_name(stream.started.message_id)
    ChatNamespace().revived(client, {log: len("Hello") + 2})
    cancel = {"sessionId": stream.session_id}
    await ChatNamespace().cancel(client, cancel, ack=client.acks.append)
    stream.push(["!!?"])
    await is_awaited_no_more(client, database_answers)
    await has_ended(client)
    assert (client.tokens, len(client.ends)) == (["?"], 1)


async def test_who_was_told_more_than_there_is_is_acked_behind_the_end(
    user, stream, database_answers
):
    client, ends = Client(user), []
    ChatNamespace().revived(client, {log_name(stream.started.message_id): 99})
    cancel = {"sessionId": stream.session_id}

    def ack(answer: dict[str, Any]) -> None:
        assert answer["ok"]
        ends.append(len(client.ends))

    await ChatNamespace().cancel(client, cancel, ack=ack)

    async def is_acked() -> bool:
        return bool(ends)

    await until(is_acked)
    await is_awaited_no_more(client, database_answers)
    assert (ends, len(client.ends), client.tokens) == ([1], 1, [])


async def test_an_answer_that_is_not_found_ends_once_though_its_socket_is_made_anew(
    user, stream, database_answers, monkeypatch
):
    """The client's marks name the answers that it is receiving, not one that ended."""
    client = Client(user)
    assert stream.started is not None
    client.marks.note(log_name(stream.started.message_id), HAS)
    move(client, stream)
    stream.cancel()
    await stream.ended.wait()
    runtime.get().streams._ended.clear()
    monkeypatch.setattr(runtime.get().mirrors, "find", find_nothing)
    await is_awaited_no_more(client, database_answers)
    [(name, end)] = client.ends
    assert (name, end["code"]) == ("llm:stream:error", "stream_not_found")
    assert str(client.marks) == ""


async def find_nothing(*_: Any, **__: Any) -> None:
    return None


@pytest.fixture
async def ended(stream) -> LiveStream:
    """The answer, which ended while its socket was on the way."""
    stream.cancel()
    await stream.ended.wait()
    return stream


@pytest.fixture
async def written_elsewhere(ended) -> LiveStream:
    """The same answer as a worker that has died left it."""
    assert ended.started is not None
    ident = ended.started.message_id

    def leave_behind() -> None:
        rows = Message.objects.filter(pk=ident)
        fields = {"state": "streaming", "content": "", "finished_at": None}
        rows.update(worker="elsewhere/1/0", **fields)

    await in_database(leave_behind)
    runtime.get().streams._ended.clear()
    return ended


async def cancels_too_late(client: Client, stream: LiveStream) -> None:
    cancel = {"sessionId": stream.session_id}
    await ChatNamespace().cancel(client, cancel, ack=client.acks.append)

    async def is_acked() -> bool:
        return bool(client.acks)

    await until(is_acked)


def end_and_refusal(client: Client) -> tuple[dict[str, Any], dict[str, Any]]:
    [(_, end), (name, refused)] = client.ends
    assert (name, refused["code"]) == ("llm:stream:error", "stream_not_found")
    [ack] = client.acks
    assert (ack["ok"], ack["code"]) == (False, "stream_not_found")
    return end, refused


async def test_whoever_cancels_too_late_hears_of_the_end_before_the_refusal(
    user, ended, come, database_answers
):
    """The client takes the first of the two for the end."""
    client = Client(user)
    come(client, ended)
    await cancels_too_late(client, ended)
    await is_awaited_no_more(client, database_answers)
    end, _ = end_and_refusal(client)
    assert (end["partialResponse"], client.tokens) == ("Hello", [LACKS])


async def test_whoever_cancels_what_is_being_stored_hears_of_the_end_before(
    user, stream, come, database_answers
):
    client = Client(user)
    come(client, stream)
    stream.ending = True
    cancel = {"sessionId": stream.session_id}
    await ChatNamespace().cancel(client, cancel, ack=client.acks.append)
    stream.ending = False
    stream.cancel()
    await stream.ended.wait()
    await is_awaited_no_more(client, database_answers)
    end, _ = end_and_refusal(client)
    assert (end["partialResponse"], client.tokens) == ("Hello", [LACKS])


@pytest.mark.parametrize("is_asked", [False, True], ids=["lone", "with others"])
async def test_whoever_cancels_what_its_worker_left_hears_of_the_end_before(
    user, written_elsewhere, come, database_answers, monkeypatch, is_asked
):
    """Text was lost with the worker: the client has more than is stored."""
    if is_asked:
        shared = runtime.get()
        monkeypatch.setattr(namespace, "find_elsewhere", shared.mirrors.find_running)
    client = Client(user)
    come(client, written_elsewhere)
    await cancels_too_late(client, written_elsewhere)
    await is_awaited_no_more(client, database_answers)
    end, _ = end_and_refusal(client)
    assert (end["code"], client.tokens) == ("interrupted", [])


async def test_who_comes_where_too_many_read_hears_it_once_there_is_room(
    user, stream, come, database_answers, monkeypatch
):
    has_no_room = iter([True])
    is_full = property(lambda _: next(has_no_room, False))
    monkeypatch.setattr(AnswerLog, "is_full", is_full)
    monkeypatch.setattr(moves, "AGAIN_S", 0)
    client = Client(user)
    come(client, stream)
    await is_awaited_no_more(client, database_answers)
    assert (client.tokens, client.ends) == ([LACKS], [])
    stream.cancel()
    await has_ended(client)
    assert len(client.ends) == 1


@pytest.mark.parametrize("has_ack", [False, True], ids=["no ack", "ack"])
async def test_who_cancels_while_the_database_is_down_is_not_told_an_end_by_that(
    user, ended, come, database_answers, monkeypatch, has_ack
):
    async def find_elsewhere(*_: Any) -> None:
        raise refusal("database_unavailable")

    monkeypatch.setattr(namespace, "find_elsewhere", find_elsewhere)
    client = Client(user)
    come(client, ended)
    cancel = {"sessionId": ended.session_id}
    ack = client.acks.append if has_ack else None
    await ChatNamespace().cancel(client, cancel, ack=ack)
    assert [ack["code"] for ack in client.acks] == ["database_unavailable"] * has_ack
    # It names no session, because the answer's is to end only once.
    [(_, error)] = client.ends
    assert (error["sessionId"], error["code"]) == (None, "database_unavailable")
    await is_awaited_no_more(client, database_answers)
    [_, (name, end)] = client.ends
    assert (name, end["partialResponse"]) == ("llm:stream:cancelled", "Hello")


async def test_whoever_cancels_elsewhere_too_late_hears_the_end_of_what_it_waits_for(
    user, stream, come, database_answers, monkeypatch
):
    """Its end is on the way. If the socket left it, the mirror would be given up."""

    async def is_too_late(_: LiveStream) -> bool:
        return False

    monkeypatch.setattr(LiveStream, "stop", is_too_late)
    client = Client(user)
    come(client, stream)
    assert not await cancel_elsewhere(client, stream)
    assert (list(visitor_of(client).running), client.tokens) == ([stream], [LACKS])
    stream.cancel()
    await is_awaited_no_more(client, database_answers)
    await has_ended(client)
    assert len(client.ends) == 1
