"""An answer is given up while its client comes back: the client gets another socket.

With its old socket it would wait for the end forever.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from accounts.verified import Verified
from llmchat.api import moves
from llmchat.api import namespace as namespaces
from llmchat.api.moves import awaited_of
from llmchat.api.namespace import ChatNamespace
from llmchat.api.visitors import Visitor, visitor_of
from llmchat.realtime import Options, Peer, Server, Socket, SocketIO, SocketIOOptions
from llmchat.workers import Mailbox
from tests.support.peers import Wire, joined, joined_again, turns
from tests.workers.test_mailbox import ONE, TWO, OpenBox, layer, open_box

__all__ = ["layer", "open_box"]
LOG = "abcdefgh"


class Chat(ChatNamespace):
    """Lets everybody in as one user."""

    async def on_connect(self, socket: Socket) -> None:
        socket.data = Visitor(Verified(1, time.time() + 60))

    def keep_watch(self) -> None:
        """Leave the users alone: there is no database."""


class Judging:
    """The check of a token that comes back, which takes until `go`."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, socket: Socket, auth: dict[str, Any]) -> Verified:
        self.began.set()
        await self.go.wait()
        verified: Verified = visitor_of(socket).verified
        return verified


@pytest.fixture
def judging(monkeypatch: pytest.MonkeyPatch) -> Judging:
    made = Judging()
    monkeypatch.setattr(namespaces, "authenticate", made)
    return made


def worker(chat: Chat, mailbox: Mailbox) -> Server:
    """Return the server of one of several workers."""
    options = SocketIOOptions(
        recovery_window_s=60.0, address=mailbox.address, secret=b"x"
    )
    socketio = SocketIO([chat], options)
    socketio.join(mailbox)
    return Server(socketio, Options())


async def absent(chat: Chat, server: Server) -> tuple[Socket, dict[str, Any]]:
    """Return the socket of a client that is away and awaits an answer."""
    peer, wire, answer = await joined(server)
    (socket,) = chat.sockets
    awaited_of(socket).marked[LOG] = 3
    peer.lose_websocket(wire)
    await turns()
    return socket, answer


def coming_back(
    server: Server, answer: dict[str, Any]
) -> asyncio.Task[tuple[Peer, Wire, dict[str, Any]]]:
    return asyncio.create_task(joined_again(server, answer, {}))


async def test_it_is_given_up_while_the_token_is_checked(
    open_box: OpenBox, judging: Judging
) -> None:
    chat = Chat()
    server = worker(chat, await open_box(ONE))
    socket, answer = await absent(chat, server)

    coming = coming_back(server, answer)
    await judging.began.wait()
    moves._give_up(socket, LOG)
    judging.go.set()
    _, _, again = await coming

    assert again["sid"] != answer["sid"]


async def test_it_is_given_up_before_the_socket_moves(
    open_box: OpenBox, judging: Judging
) -> None:
    here, there = Chat(), Chat()
    old = worker(here, await open_box(ONE))
    new = worker(there, await open_box(TWO))
    socket, answer = await absent(here, old)
    may_move = asyncio.Event()
    socket.spawn(may_move.wait())
    judging.go.set()

    coming = coming_back(new, answer)
    await judging.began.wait()
    await turns()
    assert awaited_of(socket).marked
    moves._give_up(socket, LOG)
    may_move.set()
    _, wire, again = await coming
    await turns()

    assert again == answer
    assert wire.is_closed
    _, _, anew = await joined_again(new, answer, {})
    assert anew["sid"] != answer["sid"]
