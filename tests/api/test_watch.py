"""The watch over tokens, and a recovery, while the database is slow."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from types import SimpleNamespace
from typing import Any

import pytest

from accounts.verified import Verified
from llmchat import conf
from llmchat.api import namespace as namespaces
from llmchat.api import visitors, watch
from llmchat.api.awaited import Awaited
from llmchat.api.namespace import ChatNamespace
from llmchat.api.visitors import no_longer_welcome, visitor_of
from tests.support.peers import Wire, joined, joined_again, serving, turns

ANN, BOB = 1, 2


class Database:
    """A stand-in for the database; reads of the watch wait for `release`."""

    def __init__(self) -> None:
        self.active = {ANN, BOB}
        self.generation = 0
        self.asked = asyncio.Event()
        self.release = asyncio.Event()

    async def read(self, call: Any, argument: Any) -> Any:
        assert call is visitors._generations
        answer = dict.fromkeys(argument & self.active, self.generation)
        self.asked.set()
        await self.release.wait()
        return answer


def _verified(user: int) -> Verified:
    return Verified(user, time.time() + 60)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    database = Database()
    monkeypatch.setattr(visitors, "read_database", database.read)
    monkeypatch.setattr(visitors, "known", _verified)
    shared = SimpleNamespace(on=lambda name, hear: None)
    monkeypatch.setattr(namespaces.runtime, "get", lambda: shared)
    values = dataclasses.replace(conf.get(), ping_interval_ms=20)
    monkeypatch.setattr(watch.conf, "get", lambda: values)
    return database


def tokens(user: int) -> dict[str, Any]:
    return {"token": user}


async def closed(wire: Wire) -> None:
    async with asyncio.timeout(20):
        while not wire.is_closed:  # noqa: ASYNC110 - no event of the stand-in's
            await asyncio.sleep(0.005)


async def test_who_joins_while_users_are_read_stays(database: Database) -> None:
    database.active = {BOB}
    server = serving(ChatNamespace())
    _, ann, _ = await joined(server, tokens(ANN))
    await asyncio.wait_for(database.asked.wait(), 20)

    _, bob, _ = await joined(server, tokens(BOB))
    database.release.set()
    await closed(ann)
    await turns()

    assert not bob.is_closed


async def test_who_comes_back_while_users_are_read_is_judged_as_asked(
    database: Database,
) -> None:
    """The socket and its user are the same, so the result still applies to it."""
    database.active = set()
    server = serving(ChatNamespace())
    old, old_wire, answer = await joined(server, tokens(ANN))
    await asyncio.wait_for(database.asked.wait(), 20)
    old.lose_websocket(old_wire)

    _, wire, again = await joined_again(server, answer, tokens(ANN))
    database.release.set()
    await closed(wire)

    assert again == answer


async def test_the_watch_starts_again_for_the_next_client(database: Database) -> None:
    chat = ChatNamespace()
    server = serving(chat, 0.0)
    peer, wire, _ = await joined(server, tokens(ANN))
    peer.lose_websocket(wire)
    database.release.set()
    assert chat._watch.task is not None
    await asyncio.wait_for(chat._watch.task, 20)
    database.active = set()

    _, bob, _ = await joined(server, tokens(BOB))

    await closed(bob)


async def test_a_new_password_sends_away_the_sockets_of_older_tokens(
    database: Database,
) -> None:
    database.generation = 1
    _, ann, _ = await joined(serving(ChatNamespace()), tokens(ANN))
    database.release.set()

    await closed(ann)


async def test_who_brings_a_newer_token_while_users_are_read_stays(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serving(ChatNamespace())
    old, old_wire, answer = await joined(server, tokens(ANN))
    database.generation = 1
    await asyncio.wait_for(database.asked.wait(), 20)
    old.lose_websocket(old_wire)
    newer = Verified(ANN, time.time() + 60, 1)
    monkeypatch.setattr(visitors, "known", lambda raw: newer)

    _, wire, again = await joined_again(server, answer, tokens(ANN))
    database.release.set()
    await turns()

    assert again == answer
    assert not wire.is_closed


async def test_who_waits_for_an_answer_stays_though_its_token_has_ended(
    database: Database,
) -> None:
    chat = ChatNamespace()
    await joined(serving(chat), tokens(ANN))
    [socket] = chat.sockets
    visitor = visitor_of(socket)
    visitor.verified = Verified(ANN, time.time() - 1)
    visitor.awaited = Awaited(marked={"abcdefgh": 3})
    database.release.set()

    assert await no_longer_welcome([socket]) == []
    visitor.awaited.marked.clear()
    assert await no_longer_welcome([socket]) == [socket]
