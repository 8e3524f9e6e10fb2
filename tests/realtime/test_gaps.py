"""Clients that were absent for long: what is kept, what is not, and what waits."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from typing import Any

import pytest

from llmchat.realtime import Namespace, Peer, Server, Socket
from llmchat.realtime.replay import HIGH_WATER_BYTES, MAX_REPLAY_BYTES, MAX_VITAL_BYTES
from tests.support.peers import Wire, joined, opened, serving, turns
from tests.support.wire import connect_packet, content_of


class Stories(Namespace):
    vital = frozenset({"end"})


class Headlines(Stories):
    def shorten(self, name: str, args: tuple[Any, ...]) -> list[Any]:
        return [f"{name} {args[0][0]}"]


def told(wire: Wire) -> list[list[object]]:
    """What a client was sent: name and argument of each event."""
    return [content_of(frame)[:2] for frame in wire.told if frame != "2"]


async def lost(server: Server, stories: Stories) -> tuple[Socket, dict[str, str]]:
    peer, wire, answer = await joined(server)
    peer.lose_websocket(wire)
    await turns()
    [socket] = stories.absent
    return socket, answer


@pytest.fixture
def stories() -> Stories:
    return Stories()


@pytest.fixture
def server(stories: Stories) -> Server:
    return serving(stories)


def fill(socket: Socket) -> None:
    """Emit more than is kept."""
    for _ in range(MAX_REPLAY_BYTES // 100_000 + 1):
        socket.emit("token", "x" * 100_000)


async def test_who_has_missed_too_much_hears_of_each_end_once(
    server: Server, stories: Stories
) -> None:
    socket, answer = await lost(server, stories)
    socket.emit("start", "a")
    socket.emit("end", "a")
    fill(socket)
    socket.emit("end", "b")
    socket.emit("token", "c")

    peer, wire, again = await joined(server, {"pid": answer["pid"]})

    assert told(wire) == [["end", "a"], ["end", "b"]]
    # The different pid tells the client that this is no recovery.
    assert again["pid"] != answer["pid"]
    socket.emit("token", "d")
    await turns()
    assert told(wire)[2:] == [["token", "d"]]
    offset = content_of(wire.told[-1])[-1]
    peer.lose_websocket(wire)
    _, wire, third = await joined(server, {"pid": again["pid"], "offset": offset})
    assert third == again
    assert told(wire) == []


async def test_an_end_that_has_arrived_does_not_come_again(
    server: Server, stories: Stories
) -> None:
    peer, wire, answer = await joined(server)
    [socket] = stories.sockets
    socket.emit("end", "a")
    await turns()
    offset = content_of(wire.told[-1])[-1]
    peer.lose_websocket(wire)
    fill(socket)
    socket.emit("end", "b")

    _, wire, _ = await joined(server, {"pid": answer["pid"], "offset": offset})

    assert told(wire) == [["end", "b"]]


async def test_who_has_all_since_the_gap_is_recovered(
    server: Server, stories: Stories
) -> None:
    """It was connected, and has read what absent clients would have lost."""
    peer, wire, answer = await joined(server)
    [socket] = stories.sockets
    fill(socket)
    await turns()
    offset = content_of(wire.told[-1])[-1]
    peer.lose_websocket(wire)
    socket.emit("token", "y")

    _, wire, again = await joined(server, {"pid": answer["pid"], "offset": offset})

    assert again == answer
    assert told(wire) == [["token", "y"]]


async def test_vital_events_have_a_limit_as_well(
    server: Server, stories: Stories
) -> None:
    assert await vital_ends(server, stories) == ["d", "e", "f", "g"]


async def test_the_oldest_vital_events_are_shortened_to_what_fits() -> None:
    stories = Headlines()

    ends = await vital_ends(serving(stories), stories)

    assert ends == ["end a", "end b", "end c", "d", "e", "f", "g"]


async def vital_ends(server: Server, stories: Stories) -> list[str]:
    """Return what a client gets that has missed seven long ends."""
    socket, answer = await lost(server, stories)
    size = MAX_VITAL_BYTES // 4
    for letter in "abcdef":
        socket.emit("end", letter * size)
    socket.emit("end", "g" * 2 * MAX_VITAL_BYTES)
    _, wire, _ = await joined(server, {"pid": answer["pid"]})
    texts = [str(text) for _, text in told(wire)]
    return [text.rstrip(text[-1]) + text[-1] for text in texts]


# --- The answer to the return is lost ---------------------------------------------


async def test_who_has_not_had_the_other_pid_comes_back_by_the_former_one(
    server: Server, stories: Stories
) -> None:
    socket, answer = await lost(server, stories)
    fill(socket)
    socket.emit("end", "a")
    for _ in range(2):
        peer, wire = await unanswered(server, answer["pid"])
        peer.lose_websocket(wire)
        await turns()
        assert (stories.absent, wire.told) == ([socket], [])
        socket.emit("end", "b")

    _, wire, again = await joined(server, {"pid": answer["pid"]})

    # The different pid tells the client that this is no recovery.
    assert again["sid"] == answer["sid"]
    assert again["pid"] != answer["pid"]
    assert told(wire) == [["end", "a"], ["end", "b"], ["end", "b"]]
    assert (stories.sockets, stories.absent) == ([socket], [])


async def unanswered(server: Server, pid: str) -> tuple[Peer, Wire]:
    """Come back on a connection that takes the answer, but does not deliver it."""
    peer, wire = await opened(server, "websocket")
    wire.gate.clear()
    peer.receive_frame(wire, connect_packet("/", {"pid": pid}))
    await turns()
    return peer, wire


async def test_the_former_pid_is_of_no_use_once_its_client_comes_by_the_other(
    server: Server, stories: Stories
) -> None:
    socket, answer = await lost(server, stories)
    fill(socket)
    _, _, second = await joined(server, {"pid": answer["pid"]})
    socket.emit("end", "a")

    _, wire, third = await joined(server, {"pid": second["pid"], "offset": "11"})
    _, _, fourth = await joined(server, {"pid": answer["pid"]})

    assert third == second
    assert told(wire) == [["end", "a"]]
    assert fourth["sid"] != answer["sid"]


async def test_the_former_pid_is_of_no_use_once_its_client_has_the_other(
    server: Server, stories: Stories
) -> None:
    socket, answer = await lost(server, stories)
    fill(socket)
    peer = await returned_by_polling(server, answer["pid"])
    assert pids_of(server) == 2

    peer.start_poll(Wire())  # which confirms the answer to the one before

    assert pids_of(server) == 1
    _, _, again = await joined(server, {"pid": answer["pid"]})
    assert again["sid"] != answer["sid"]
    assert stories.sockets[0] is socket


async def test_a_session_takes_the_former_pid_along(
    server: Server, stories: Stories
) -> None:
    socket, answer = await lost(server, stories)
    fill(socket)
    socket.emit("end", "a")
    peer = await returned_by_polling(server, answer["pid"])
    there = Stories()
    elsewhere = serving(there)
    state = json.loads(json.dumps(peer.hand_over("there")))
    moved = elsewhere._take_over(peer.sid, state)
    moved.adopt(wire := Wire())
    assert (pids_of(server), pids_of(elsewhere)) == (0, 2)

    # As far as that worker knows, the client may not have received the poll's answer.
    moved.lose_websocket(wire)
    await turns()
    _, wire, again = await joined(elsewhere, {"pid": answer["pid"]})

    assert again["sid"] == answer["sid"]
    assert told(wire) == [["end", "a"]]
    assert len(there.sockets) == 1


async def returned_by_polling(server: Server, pid: str) -> Peer:
    """Come back, and receive the poll's answer that carries the new pid."""
    peer, _ = await opened(server, "polling")
    peer.start_post(post := Wire())
    peer.receive_payload(post, f'40{{"pid":"{pid}"}}'.encode())
    await turns()
    peer.start_poll(poll := Wire())
    await turns()
    peer.answer_sent(poll)
    return peer


def pids_of(server: Server) -> int:
    """Return with how many pids clients may come back."""
    socketio: Any = server._application
    return len(socketio._members._by_pid)


# --- Who emits waits --------------------------------------------------------------


async def test_whoever_emits_to_an_absent_client_waits_for_it(
    server: Server, stories: Stories
) -> None:
    socket, answer = await lost(server, stories)
    assert socket.writable
    await asyncio.wait_for(socket.drain(), 20)

    socket.emit("token", "x" * HIGH_WATER_BYTES)

    assert not socket.writable
    draining = [socket.spawn(socket.drain()) for _ in range(2)]
    await turns()
    assert not any(task.done() for task in draining)
    peer, wire, again = await joined(server, {"pid": answer["pid"]})
    for _ in range(2):  # the first ping went before the message
        peer.receive_frame(wire, "3")
        await turns()
    await asyncio.wait_for(asyncio.gather(*draining), 20)
    assert again == answer


async def test_whoever_waits_for_an_absent_client_ends_with_its_socket(
    server: Server, stories: Stories
) -> None:
    socket, _ = await lost(server, stories)
    socket.emit("token", "x" * HIGH_WATER_BYTES)
    spawned = socket.spawn(socket.drain())
    draining = asyncio.create_task(socket.drain())
    await turns()

    socket.disconnect()

    await asyncio.wait_for(draining, 20)
    await asyncio.wait([spawned])
    assert spawned.cancelled()
    assert stories.absent == []


async def test_a_forgotten_socket_is_nobodys(server: Server, stories: Stories) -> None:
    """It leaves no cycle of references."""
    gc.disable()
    try:
        socket, _ = await lost(server, stories)
        there = weakref.ref(socket)
        socket.disconnect()
        del socket
        await turns()
        assert there() is None
    finally:
        gc.enable()


async def test_sockets_in_a_room_come_in_order(
    server: Server, stories: Stories
) -> None:
    entered = []
    for _ in range(20):
        await joined(server)
        [socket] = [s for s in stories.sockets if s not in entered]
        socket.join("blue")
        entered.append(socket)

    assert stories.sockets_in("blue") == entered
    assert stories.sockets_in("red") == []
