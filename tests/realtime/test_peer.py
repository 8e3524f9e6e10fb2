"""Peers, sockets and their recovery, in turns that no server can force."""

from __future__ import annotations

import asyncio

import pytest

from llmchat.realtime import Ack, Namespace, Socket, event
from tests.support.peers import Wire, joined, opened, serving, turns
from tests.support.wire import content_of
from tests.support.wire import event as event_packet


class Lobby(Namespace):
    """Notes what happens, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.happened: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.greeting: list[str] = []

    async def on_connect(self, socket: Socket) -> None:
        for text in self.greeting:
            socket.emit("early", text)

    async def on_joined(self, socket: Socket) -> None:
        self.happened.append("joined")

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        self.happened.append("disconnected")

    @event("wait")
    async def wait(self, socket: Socket, *, ack: Ack | None) -> None:
        await self.gate.wait()


# --- Transports --------------------------------------------------------------------


async def test_a_probe_that_still_closes_does_not_disturb_the_next() -> None:
    peer, _ = await opened(serving(Lobby()), "polling")
    first, second = Wire(), Wire()
    first.gate.clear()
    peer.open_websocket(first)
    peer.receive_frame(first, "wrong")
    await turns()

    peer.open_websocket(second)
    peer.receive_frame(second, "2probe")
    await turns()
    assert second.told == ["3probe"]
    first.gate.set()
    await turns()

    assert first.told == [("closed", 1000)]


async def test_an_error_of_one_websocket_is_not_the_loss_of_another() -> None:
    peer, _ = await opened(serving(Lobby()), "polling")
    first, second = Wire(), Wire()
    first.gate.clear()
    first.error = ConnectionResetError()
    peer.open_websocket(first)
    peer.receive_frame(first, "2probe")
    await turns()
    peer.receive_frame(first, "wrong")
    peer.open_websocket(second)
    peer.receive_frame(second, "2probe")
    first.gate.set()
    await turns()

    peer.receive_frame(second, "5")

    assert peer.session.transport == "websocket"
    assert second.told == ["3probe"]


async def test_a_post_beside_an_unfinished_one_refuses_both() -> None:
    peer, _ = await opened(serving(Lobby()), "polling")
    first, second = Wire(), Wire()
    peer.start_post(first)

    peer.start_post(second)
    peer.lose_post(second)

    assert (first.told, second.told) == ([("refused", 400)], [("refused", 400)])
    assert peer.session.is_closed


async def test_a_peer_is_gone_when_its_close_was_written() -> None:
    peer, wire = await opened(serving(Lobby()), "websocket")
    wire.gate.clear()
    peer.close()
    gone = asyncio.create_task(peer.wait_gone())
    await turns()
    assert not gone.done()

    wire.gate.set()
    await asyncio.wait_for(gone, 5)

    assert wire.told == [("closed", 1000)]


async def test_a_websocket_that_its_session_does_not_want_is_closed() -> None:
    peer, wire = await opened(serving(Lobby()), "websocket")
    second = Wire()

    peer.open_websocket(second)
    peer.receive_frame(second, "1")
    await turns()

    assert second.told == [("closed", 1000)]
    assert wire.told == []
    assert peer.session.is_open


# --- Sockets -----------------------------------------------------------------------


async def test_on_joined_comes_behind_the_on_disconnect_of_a_takeover() -> None:
    lobby = Lobby()
    server = serving(lobby)
    old, old_wire, answer = await joined(server)
    lobby.gate.clear()
    old.receive_frame(old_wire, event_packet("wait"))
    await turns()

    _, _, again = await joined(server, {"pid": answer["pid"]})
    lobby.gate.set()
    await turns()

    assert again == answer
    assert lobby.happened == ["joined", "disconnected", "joined"]


async def test_every_disconnect_is_followed_before_the_next() -> None:
    lobby = Lobby()
    server = serving(lobby)
    peer, wire, answer = await joined(server)
    lobby.gate.clear()
    peer.receive_frame(wire, event_packet("wait"))
    await turns()
    for _ in range(3):
        peer.lose_websocket(wire)
        peer, wire, _ = await joined(server, {"pid": answer["pid"]})
    lobby.gate.set()
    await turns()

    assert lobby.happened == ["joined", *["disconnected", "joined"] * 3]


@pytest.mark.parametrize("window_s", [0.0, 60.0], ids=["no recovery", "recovery"])
async def test_all_that_on_connect_emits_arrives_however_much(window_s: float) -> None:
    lobby = Lobby()
    lobby.greeting = [letter * 600_000 for letter in "abc"]

    _, wire, _ = await joined(serving(lobby, window_s))

    events = [frame for frame in wire.told if frame != "2"]
    texts = [content_of(frame)[1][0] for frame in events]
    assert texts == ["a", "b", "c"]


async def test_a_join_that_was_refused_does_not_hide_the_next_one() -> None:
    lobby = Lobby()
    server = serving(lobby, 0.0)
    peer, wire = await opened(server, "websocket")
    peer.receive_frame(wire, "40/unknown")
    peer.receive_frame(wire, "40")
    peer.lose_websocket(wire)
    await turns()

    assert lobby.sockets == lobby.absent == []
    assert lobby.happened == []


async def test_what_is_kept_for_a_recovery_is_counted_in_bytes() -> None:
    """Six hundred thousand characters, and twice as many bytes."""
    lobby = Lobby()
    server = serving(lobby)
    peer, wire, answer = await joined(server)
    peer.lose_websocket(wire)
    [socket] = lobby.absent
    socket.emit("much", "é" * 600_000)

    _, wire, again = await joined(server, {"pid": answer["pid"]})

    assert again["pid"] != answer["pid"]
    assert wire.told == []


async def test_a_forgotten_socket_enters_no_room() -> None:
    lobby = Lobby()
    server = serving(lobby, 0.0)
    peer, wire, _ = await joined(server)
    [socket] = lobby.sockets
    peer.lose_websocket(wire)

    socket.join("blue")

    assert socket.rooms == set()
