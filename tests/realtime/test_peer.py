"""Peers, sockets and their recovery, in orders of events that no server can force."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from llmchat.realtime import Ack, ConnectionRefused, Namespace, Socket, event
from tests.support.peers import Wire, joined, opened, serving, turns
from tests.support.wire import connect_packet, connected, content_of
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
    await asyncio.wait_for(gone, 20)

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


async def test_an_answer_that_was_not_sent_is_confirmed_by_no_poll() -> None:
    lobby = Lobby()
    server = serving(lobby)
    peer, _ = await opened(server, "polling")
    peer.start_post(post := Wire())
    peer.receive_payload(post, b"40")
    await turns()
    peer.start_poll(poll := Wire())
    peer.answer_sent(poll)
    [socket] = lobby.sockets
    answer = connected(poll.told[0], "/")
    peer.start_poll(poll := Wire())
    socket.emit("missed")
    assert "missed" in poll.told[0]

    peer.start_poll(second := Wire())

    assert peer.session.is_closed
    assert second.told == [("refused", 400)] or second.told == ["1"]
    _, wire, again = await joined(server, {"pid": answer["pid"]})
    assert again == answer
    assert content_of(wire.told[-1])[0] == "missed"


async def test_an_answer_that_was_lost_on_its_way_ends_the_session() -> None:
    peer, _ = await opened(serving(Lobby()), "polling")
    first = Wire()
    peer.start_poll(first)
    peer.send(["x"])
    assert first.told == ["4x"]

    peer.lose_poll(first)

    assert peer.session.is_closed
    assert peer.session.confirmed_messages == 0


async def test_an_answer_that_was_sent_is_confirmed_by_the_next_poll() -> None:
    peer, _ = await opened(serving(Lobby()), "polling")
    peer.start_poll(first := Wire())
    peer.send(["x"])
    peer.answer_sent(first)
    peer.lose_poll(first)

    peer.start_poll(Wire())

    assert peer.session.is_open
    assert peer.session.confirmed_messages == 1


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


class Stubborn(Lobby):
    """Refuses once, and answers even if it is cancelled."""

    refuses = False

    async def on_connect(self, socket: Socket) -> None:
        with suppress(asyncio.CancelledError):
            await self.gate.wait()
        if self.refuses:
            self.refuses = False
            raise ConnectionRefused("not yet")


async def test_a_refused_join_does_not_take_its_successor_with_it() -> None:
    lobby = Stubborn()
    lobby.refuses = True
    peer, wire = await opened(serving(lobby, 0.0), "websocket")
    lobby.gate.clear()
    peer.receive_frame(wire, "40")
    await turns()
    lobby.gate.set()
    for _ in range(20):
        if wire.told:
            break
        await asyncio.sleep(0)
    # The refusal is written, but not everything that follows from it has run yet.
    peer.receive_frame(wire, "40")
    await turns()

    assert wire.told[0].startswith("44")
    connected(wire.told[1], "/")
    [socket] = lobby.sockets
    peer.lose_websocket(wire)
    await turns()
    assert not socket.connected
    assert lobby.sockets == []


async def test_a_join_that_ends_on_a_dead_line_leaves_no_socket() -> None:
    lobby = Stubborn()
    lobby.gate.clear()
    peer, wire = await opened(serving(lobby, 0.0), "websocket")
    peer.receive_frame(wire, "40")
    await turns()

    peer.lose_websocket(wire)
    await turns()

    assert lobby.sockets == lobby.absent == []
    assert lobby.happened == []
    assert lobby._sockets == {}


async def test_a_recovery_that_ends_on_a_dead_line_leaves_the_socket_absent() -> None:
    lobby = StubbornRecovery()
    server = serving(lobby)
    peer, wire, answer = await joined(server)
    peer.lose_websocket(wire)
    lobby.gate.clear()
    peer, wire = await opened(server, "websocket")
    peer.receive_frame(wire, connect_packet("/", {"pid": answer["pid"]}))
    await turns()

    peer.lose_websocket(wire)
    await turns()
    assert len(lobby.absent) == 1
    lobby.gate.set()

    _, _, again = await joined(server, {"pid": answer["pid"]})
    assert again == answer


class StubbornRecovery(Lobby):
    """Answers even if it is cancelled."""

    async def on_recover(self, socket: Socket, auth: dict[str, Any]) -> bool:
        with suppress(asyncio.CancelledError):
            await self.gate.wait()
        return True


async def test_what_is_kept_for_a_recovery_is_counted_in_bytes() -> None:
    """It is six hundred thousand characters, but twice as many bytes."""
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


async def test_events_that_wait_are_bounded_in_bytes() -> None:
    lobby = Lobby()
    peer, wire, _ = await joined(serving(lobby))
    lobby.gate.clear()
    peer.receive_frame(wire, event_packet("wait"))
    await turns()
    large = event_packet("wait", "x" * 900_000)

    taken = 0
    while peer.session.is_open:
        peer.receive_frame(wire, large)
        taken += 1

    assert 5 < taken < 12
    lobby.gate.set()


async def test_events_that_were_handled_are_no_burden() -> None:
    lobby = Lobby()
    peer, wire, _ = await joined(serving(lobby))
    large = event_packet("wait", "x" * 900_000)

    for _ in range(20):
        peer.receive_frame(wire, large)
        await turns()

    assert peer.session.is_open


async def test_a_burst_is_handled_in_order_and_lets_others_take_turns() -> None:
    lobby = Counting()
    server = serving(lobby)
    peer, _ = await opened(server, "polling")
    peer.start_post(post := Wire())
    peer.receive_payload(post, b"40")
    await turns()
    burst = "\x1e".join(event_packet("count", number) for number in range(10_000))
    peer.start_post(post := Wire())

    peer.receive_payload(post, burst.encode())
    passes = []
    while len(lobby.counted) < 10_000:
        before = len(lobby.counted)
        await asyncio.sleep(0)
        passes.append(len(lobby.counted) - before)

    assert lobby.counted == list(range(10_000))
    assert max(passes) <= 2 * 16
    assert post.told == ["accepted"]


class Counting(Lobby):
    """Counts without ever waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[int] = []

    @event("count")
    async def count(self, socket: Socket, number: int, *, ack: Ack | None) -> None:
        self.counted.append(number)
