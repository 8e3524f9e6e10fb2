"""Clients of a stopping worker are sent away once they wait for nothing, not before."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

import pytest

from accounts.verified import Verified
from llmchat.answers.events import Failed, Started
from llmchat.answers.log import AnswerLog
from llmchat.api import namespace
from llmchat.api.awaited import Awaited
from llmchat.api.listening import listen
from llmchat.api.namespace import ChatNamespace
from llmchat.api.visitors import Visitor, visitor_of
from llmchat.errors import refusal
from llmchat.realtime import Ack, Socket, event
from tests.support.peers import Wire, joined, serving, turns


class Chat(ChatNamespace):
    """Lets everybody in as one user; one handler and one task wait for `gate`."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def on_connect(self, socket: Socket) -> None:
        socket.data = Visitor(Verified(1, time.time() + 60))

    async def on_event(self, *args: Any) -> bool:
        return True

    @event("wait")
    async def wait(self, socket: Socket, *, ack: Ack | None) -> None:
        await self.gate.wait()
        assert ack is not None
        ack("now")

    @event("later")
    async def later(self, socket: Socket, *, ack: Ack | None) -> None:
        socket.spawn(self.wait(socket, ack=ack))


async def test_whoever_waits_for_an_ack_gets_it_first() -> None:
    chat = Chat()
    server = serving(chat)
    clients = [await joined(server) for _ in range(3)]
    for (peer, wire, _), name in zip(clients, ("wait", "later"), strict=False):
        peer.receive_frame(wire, f'420["{name}"]')
    await turns()

    await chat.send_away_idle()
    await turns()
    assert [wire.is_closed for _, wire, _ in clients] == [False, False, True]

    chat.gate.set()
    await turns()
    await chat.send_away_idle()
    await turns()
    for _, wire, _ in clients[:2]:
        assert wire.told[:2] == ['430["now"]', ("closed", 1000)]


async def test_whoever_hears_an_answer_stays() -> None:
    chat = Chat()
    server = serving(chat)
    _, wire, _ = await joined(server)
    (socket,) = chat.sockets
    visitor_of(socket).running[object()] = object()  # type: ignore[index, assignment]
    await chat.send_away_idle()
    await turns()
    assert not wire.is_closed
    visitor_of(socket).running.clear()


async def test_whoever_waits_for_an_answer_stays() -> None:
    chat = Chat()
    _, wire, _ = await joined(serving(chat))
    (socket,) = chat.sockets
    awaited = visitor_of(socket).awaited = Awaited(marked={"abcdefgh": 3})
    await chat.send_away_idle()
    await turns()
    assert not wire.is_closed

    awaited.marked.clear()
    await chat.send_away_idle()
    await turns()
    assert wire.is_closed


async def hearing(chat: Chat) -> tuple[Wire, AnswerLog]:
    """Let one client join, and follow an answer that has not begun."""
    _, wire, _ = await joined(serving(chat))
    (socket,) = chat.sockets
    stream = AnswerLog(1, "one")
    listen(socket, stream, is_owner=True)
    return wire, stream


async def test_whoever_has_just_heard_an_end_may_ask_the_next_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chat = Chat()
    wire, stream = await hearing(chat)
    stream.tell_started(
        Started("one", "local", "model-1", UUID(int=1), UUID(int=2), UUID(int=3))
    )
    stream.close(Failed("one", refusal("internal_error")))

    await chat.send_away_idle()
    await turns()
    assert not wire.is_closed

    monkeypatch.setattr(namespace, "_NEXT_QUESTION_S", 0.0)
    await chat.send_away_idle()
    await turns()
    assert wire.is_closed


async def test_whoever_asks_again_and_again_does_not_stay_for_that() -> None:
    chat = Chat()
    wire, stream = await hearing(chat)
    stream.close(Failed("one", refusal("draining")))

    await chat.send_away_idle()
    await turns()
    assert wire.is_closed


async def test_a_crowd_that_leaves_holds_up_nobody() -> None:
    chat = Chat()
    server = serving(chat)
    for _ in range(100):
        await joined(server)
    passes = 0

    async def others() -> None:
        nonlocal passes
        while True:
            await asyncio.sleep(0)
            passes += 1

    other = asyncio.create_task(others())
    await chat.send_away_idle()
    assert passes >= 5
    assert chat.sockets == []
    other.cancel()


async def test_a_socket_is_busy_until_its_last_event_is_handled() -> None:
    chat = Chat()
    server = serving(chat)
    peer, wire, _ = await joined(server)
    (socket,) = chat.sockets
    assert not socket.is_busy
    for _ in range(3):
        peer.receive_frame(wire, '420["wait"]')
    await turns()
    assert socket.is_busy
    chat.gate.set()
    await turns()
    assert not socket.is_busy
    chat.gate.clear()
    for _ in range(3):
        peer.receive_frame(wire, '420["wait"]')
    await turns()
    socket.disconnect()  # drops the events that wait
    assert socket.events == 1
    chat.gate.set()
    await turns()
    assert not socket.is_busy
