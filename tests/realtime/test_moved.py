"""A session that moves to another worker with its sockets: when, and what is sent."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from llmchat.realtime import Namespace, Peer, Server, Socket
from tests.support.peers import Wire, joined_again, opened, serving, turns
from tests.support.wire import connected, content_of


class Greeting(Namespace):
    """A namespace whose `on_joined` takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def on_joined(self, socket: Socket) -> None:
        await self.gate.wait()
        socket.emit("welcome", 1)


async def polling(server: Server) -> tuple[Peer, dict[str, Any]]:
    """Return the session of a polling client, and the answer to its join."""
    peer, _ = await opened(server, "polling")
    peer.start_post(post := Wire())
    peer.receive_payload(post, b"40")
    await turns()
    return peer, connected((await polled(peer))[0], "/")


async def polled(peer: Peer) -> list[Any]:
    """Return what a poll is answered with."""
    peer.start_poll(poll := Wire())
    await turns()
    peer.answer_sent(poll)
    return [frame for body in poll.told for frame in body.split("\x1e")]


async def goes_on(server: Server, peer: Peer) -> tuple[Peer, Wire]:
    """Take a session to another server, for its WebSocket."""
    state = peer.hand_over("there")
    assert state is not None
    moved, wire = server._take_over(peer.sid, json.loads(json.dumps(state))), Wire()
    moved.adopt(wire)
    await turns()
    return moved, wire


async def test_a_socket_does_not_move_before_on_joined_has_ended() -> None:
    lobby = Greeting()
    peer, _ = await polling(serving(lobby))
    assert peer.hand_over("there") is None

    lobby.gate.set()
    await turns()

    assert content_of((await polled(peer))[0])[:2] == ["welcome", 1]
    assert peer.hand_over("there") is not None


class Telling(Namespace):
    """A namespace that emits an event when a socket arrives."""

    def move_in(self, socket: Socket, state: Any) -> None:
        socket.emit("here", 1)


@pytest.mark.parametrize("window_s", [0.0, 60.0])
async def test_what_is_emitted_on_arrival_follows_what_waits(window_s: float) -> None:
    before, lobby = Namespace(), Telling()
    peer, _ = await polling(serving(before, window_s))
    [socket] = before.sockets
    socket.emit("there", 1)

    _, wire = await goes_on(serving(lobby, window_s), peer)

    [socket] = lobby.sockets
    socket.emit("later", 2)
    await turns()
    told = [content_of(frame)[:2] for frame in wire.told]
    assert told == [["there", 1], ["here", 1], ["later", 2]]


async def test_what_is_emitted_on_arrival_is_kept_until_the_client_has_it() -> None:
    before, lobby = Namespace(), Telling()
    peer, answer = await polling(serving(before))
    [socket] = before.sockets
    socket.emit("there", 1)
    server = serving(lobby)
    peer, wire = await goes_on(server, peer)
    [socket] = lobby.sockets

    # The client has what waited for it, confirms that, and is lost before it reads on.
    seen = content_of(wire.told[0])[-1]
    assert peer._receiver is not None
    peer._receiver.confirmed(1)
    peer.lose_websocket(wire)
    await turns()
    _, wire, again = await joined_again(server, answer, {}, offset=seen)
    await turns()

    assert again == answer
    assert [content_of(frame)[:2] for frame in wire.told] == [["here", 1]]
