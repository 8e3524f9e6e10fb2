"""Sockets that were made again or have moved, and what their clients wait for."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import OperationalError
from django.utils import timezone

from accounts.verified import Verified
from llmchat.answers import runtime
from llmchat.api import moves
from llmchat.api import namespace as namespaces
from llmchat.api.awaited import Awaited
from llmchat.api.namespace import ChatNamespace
from llmchat.api.socket_reader import log_name
from llmchat.api.visitors import leave_when_idle
from llmchat.books.placed import LATEST
from llmchat.database import in_database
from llmchat.errors import refusal
from llmchat.models import Message, Worker
from llmchat.realtime import ComeBackLater, ConnectionRefused
from tests.api.test_attach import Client, first_token, has_ended
from tests.support.chat_fixtures import broken_database, events_of, until

WINDOW = timedelta(minutes=1)


@pytest.fixture
async def answer(user, provider, upstream, turn) -> Message:
    """An answer that ended an hour ago; only the database still has it."""
    upstream.steps = ("Hel", "lo")
    await events_of(user, turn("Hi"))
    await runtime.shutdown()

    def age() -> Message:
        rows = Message.objects.filter(role="assistant")
        rows.update(finished_at=timezone.now() - timedelta(hours=1))
        return rows.get()

    return await in_database(age)


def revived(user, answer: Message, position: int) -> Client:
    client = Client(user)
    ChatNamespace().revived(client, {log_name(answer.pk): position})
    return client


@pytest.mark.parametrize("lost", [False, True], ids=["own", "of another"])
async def test_a_client_that_was_away_for_long_hears_the_end_all_the_same(
    user, answer, lost
):
    if lost:
        rows = Message.objects.filter(pk=answer.pk)
        await in_database(lambda: rows.update(worker="elsewhere/1/0"))
    client = revived(user, answer, 3)
    await has_ended(client)
    assert client.tokens == ["lo"]
    [(name, end)] = client.ends
    assert (name, end["fullResponse"]) == ("llm:stream:done", "Hello")


class Open(ChatNamespace):
    """A namespace that lets every client in."""

    async def let_in(self, socket: object) -> None:
        pass


@pytest.mark.parametrize("lacks", ["deleted", "of another", "too old", None])
async def test_a_client_has_its_socket_back_where_its_answers_are_to_be_found(
    user, answer, lacks
):
    def lose() -> None:
        rows = Message.objects.filter(pk=answer.pk)
        if lacks == "deleted":
            answer.conversation.delete()
        if lacks == "of another":
            rows.update(user=type(user).objects.create_user("another"))
        if lacks == "too old":
            rows.update(created_at=timezone.now() - LATEST)

    await in_database(lose)
    client, marks = Client(user), {log_name(answer.pk): 3}
    assert await Open().on_revive(client, marks) is (lacks is None)
    assert await Open().on_revive(client, {})
    assert not await Open().on_revive(client, {**marks, "abcdefgh": 1})


async def test_a_client_has_its_socket_back_while_nobody_can_say_what_is_stored(user):
    with broken_database("SELECT"):
        assert await Open().on_revive(Client(user), {"abcdefgh": 1})


class Failing(ChatNamespace):
    """A namespace whose database does not answer the first times that it is asked."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self._times = times

    async def let_in(self, socket: object) -> None:
        await self.authenticate(socket, {})

    async def authenticate(self, socket: Client, auth: object) -> Verified:
        self._times -= 1
        if self._times >= 0:
            raise OperationalError
        return socket.data.verified


@pytest.fixture
def failing(monkeypatch):
    """Return how a client comes back, each way, with a database that fails."""
    monkeypatch.setattr(moves, "AGAIN_S", 0.01)

    def make(user, way: str, times: float):
        namespace = Failing(times)
        monkeypatch.setattr(namespaces, "authenticate", namespace.authenticate)
        return getattr(namespace, way)(Client(user), {})

    return make


@pytest.mark.parametrize("way", ["on_recover", "on_revive"])
async def test_a_client_that_comes_back_waits_for_the_database(user, failing, way):
    assert await failing(user, way, times=3)


@pytest.mark.parametrize("way", ["on_recover", "on_revive"])
async def test_a_client_is_sent_to_come_back_later_before_it_loses_its_socket(
    user, failing, monkeypatch, way
):
    monkeypatch.setattr(moves, "PATIENCE_S", 0.1)
    with pytest.raises(ComeBackLater):
        await failing(user, way, times=float("inf"))


async def test_a_client_whose_window_ends_in_an_outage_is_not_turned_away_for_good(
    user, failing
):
    """The stock client comes back after a closed connection, not after a refusal."""
    client = Client(user)
    client.auth = {"pid": "of a socket that is forgotten"}
    with pytest.raises(ComeBackLater):
        await Failing(1).on_connect(client)
    client.auth = {}
    with pytest.raises(ConnectionRefused):
        await Failing(1).on_connect(client)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_client_whose_answer_is_gone_after_all_is_sent_to_another_socket(
    user, answer, monkeypatch, when
):
    """As long as it had its socket, it would wait for an end that never comes."""
    client, namespace, log = Client(user), Open(), log_name(answer.pk)

    async def authenticate(socket: Client, auth: object) -> Verified:
        return socket.data.verified

    async def find_answer(*names: object) -> None:
        raise refusal("stream_not_found")

    monkeypatch.setattr(namespaces, "authenticate", authenticate)
    if when == "before":
        await in_database(answer.delete)
    else:
        monkeypatch.setattr(moves, "find_answer", find_answer)
    assert await namespace.on_recover(client, {})
    namespace.revived(client, {log: 3})
    async with asyncio.timeout(5):
        while not client.is_closed:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert client.ends == []
    assert client.data.is_idle
    assert not await namespace.on_recover(client, {})


@pytest.mark.parametrize("moves_on", [False, True])
async def test_a_client_that_hears_an_answer_is_sent_away_behind_its_end(
    user, provider, upstream, moves_on
):
    """It has asked again since; the answer that it received before cannot be found."""
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    client = Client(user)
    await client.ask()
    await first_token(client)
    Open().revived(client, {"abcdefgh": 3})

    async def is_lost() -> bool:
        return client.data.is_lost

    await until(is_lost)
    assert not client.is_closed
    if moves_on:
        client = await moved(client, user)
        assert client.data.is_lost
    assert not await Open().on_recover(client, {})
    go.set()
    await has_ended(client)
    assert client.is_closed


async def test_a_lost_client_that_moves_to_no_answer_is_sent_away_behind_its_end(user):
    left, client, ident = Client(user), Client(user), uuid4().hex
    left.data.awaited = Awaited(heard={ident: (ident, "one", 3, True)})
    left.data.is_lost = True
    Open().move_in(client, Open().move_out(left, "there"))
    await has_ended(client)
    assert [name for name, _ in client.ends] == ["llm:stream:error"]
    assert client.is_closed


async def test_a_lost_client_is_sent_away_behind_what_it_is_still_to_hear(user):
    """Of the two answers that it was receiving, one cannot be found."""
    client, ident = Client(user), uuid4().hex
    client.data.awaited = Awaited(heard={ident: (ident, "one", 3, True)})
    client.data.awaited.marked["abcdefgh"] = 3
    moves._give_up(client, "abcdefgh")
    assert client.data.is_lost
    assert not client.is_closed

    client.data.awaited.heard.clear()
    leave_when_idle(client, None)
    assert client.is_closed


async def test_a_client_hears_the_end_once_the_database_is_back(
    user, answer, monkeypatch
):
    monkeypatch.setattr(moves, "AGAIN_S", 0.1)
    with broken_database("SELECT"):
        client = revived(user, answer, 5)
        await asyncio.sleep(0.5)
    await has_ended(client)
    assert (client.tokens, len(client.ends)) == ([], 1)


@pytest.fixture
async def unended(answer) -> Message:
    """The same answer while a machine writes it that may have died."""
    rows = Message.objects.filter(pk=answer.pk)
    worker = "another machine/1/0"

    def write_on() -> None:
        Worker.objects.create(name=worker, lease_until=timezone.now() + WINDOW)
        rows.update(state="streaming", worker=worker, content="", finished_at=None)

    await in_database(write_on)
    return answer


async def end(answer: Message) -> None:
    fields = {"state": "complete", "content": "Hello", "finished_at": timezone.now()}
    rows = Message.objects.filter(pk=answer.pk)
    await in_database(lambda: rows.update(**fields))


async def is_awaited(client: Client) -> None:
    async def check() -> bool:
        return client.data.awaited is not None and bool(client.data.awaited.found)

    await until(check)


async def moved(client: Client, user) -> Client:
    """Return the client after a move, as another worker has it."""
    state = ChatNamespace().move_out(client, "there")
    for task in client._tasks:
        task.cancel()
    await asyncio.wait(client._tasks)
    assert not client.ends
    again = Client(user)
    ChatNamespace().move_in(again, json.loads(json.dumps(state)))
    return again


async def test_a_socket_moves_while_it_waits_for_its_answer_and_hears_it_there(
    user, unended
):
    client = revived(user, unended, 3)
    await is_awaited(client)
    client = await moved(client, user)
    await is_awaited(client)
    # From there it takes the answer along in the same way.
    client = await moved(client, user)
    await end(unended)
    await has_ended(client)
    assert client.tokens == ["lo"]
    [(name, told)] = client.ends
    assert (name, told["fullResponse"]) == ("llm:stream:done", "Hello")
    assert client.data.awaited == Awaited()


async def test_an_answer_is_taken_along_once(user):
    client, ident = Client(user), uuid4()
    client.data.awaited = Awaited(
        heard={ident.hex: (ident.hex, "one", 7, True)},
        marked={log_name(ident): 3, "abcdefgh": 1},
    )
    state = ChatNamespace().move_out(client, "elsewhere")
    assert state["heard"] == [[ident.hex, "one", 7, True]]
    assert state["marked"] == {"abcdefgh": 1}


async def test_a_socket_that_moves_without_a_database_hears_its_answer_later(
    user, unended, monkeypatch
):
    monkeypatch.setattr(moves, "AGAIN_S", 0.1)
    left, client, ident = Client(user), Client(user), unended.pk.hex
    left.data.awaited = Awaited(heard={ident: (ident, "one", 3, True)})
    state = ChatNamespace().move_out(left, "there")
    with broken_database("SELECT"):
        ChatNamespace().move_in(client, json.loads(json.dumps(state)))
        await asyncio.sleep(0.5)
    assert client.events == []
    await end(unended)
    await has_ended(client)
    assert client.tokens == ["lo"]
    [(name, told)] = client.ends
    assert (name, told["fullResponse"]) == ("llm:stream:done", "Hello")
    assert client.data.awaited == Awaited()
