"""Clients that hand back the offset of a socket that they had before the current one.

The stock client does so until it gets an event: it never forgets the offset.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from llmchat.realtime import (
    Namespace,
    Options,
    Peer,
    Server,
    SocketIO,
    SocketIOOptions,
    pids,
)
from llmchat.realtime.sockets import Socket
from llmchat.workers import address_of
from tests.realtime.test_moved import goes_on, polled
from tests.support.peers import Wire, joined, joined_again, opened, turns
from tests.support.wire import connect_packet, connected, content_of

FORMER = "5.log:1205"


class Lobby(Namespace):
    vital = frozenset({"end"})

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Mapping[str, int]] = []

    async def on_revive(self, socket: Socket, marks: Mapping[str, int]) -> bool:
        self.asked.append(dict(marks))
        return True


def worker(name: str, lobby: Namespace) -> Server:
    options = SocketIOOptions(
        recovery_window_s=60, secret=b"s", address=address_of(name)
    )
    return Server(SocketIO([lobby], options), Options(), secret=b"s")


def told(wire: Wire) -> list[Any]:
    """Return the arguments of the events that a client was sent."""
    return [content_of(frame)[1] for frame in wire.told]


async def lost(server: Server, lobby: Lobby) -> tuple[Socket, dict[str, Any]]:
    """Return a new socket whose client had another, and is lost before any event."""
    before = {"pid": "a" * 20, "offset": FORMER}
    peer, wire, answer = await joined(server, before)
    await turns()
    peer.lose_websocket(wire)
    await turns()
    [socket] = lobby.absent
    return socket, answer


@pytest.fixture
def lobby() -> Lobby:
    return Lobby()


@pytest.fixture
def server(lobby: Lobby) -> Server:
    return worker("one", lobby)


@pytest.mark.parametrize("count", [0, 3, 8])
async def test_all_that_was_missed_of_the_new_socket_comes(
    server: Server, lobby: Lobby, count: int
) -> None:
    socket, answer = await lost(server, lobby)
    for number in range(count):
        socket.emit("x", number)
    for _ in range(2):  # what is sent the first time is lost as well
        peer, wire, again = await joined_again(server, answer, {}, offset=FORMER)
        await turns()
        assert again == answer
        assert told(wire) == list(range(count))
        peer.lose_websocket(wire)
        await turns()

    socket.emit("x", "more")
    _, wire, again = await joined_again(server, answer, {}, offset=FORMER)
    await turns()
    seen = content_of(wire.told[-1])[-1]
    _, wire, again = await joined_again(server, answer, {}, offset=seen)
    await turns()
    assert (again, wire.told) == (answer, [])


async def test_who_has_missed_too_much_gets_another_pid_whatever_chance_says(
    server: Server, lobby: Lobby, monkeypatch: pytest.MonkeyPatch
) -> None:
    nonce, other = pids._nonce(1), pids._nonce(2)
    nonces = iter([nonce, nonce, nonce, other])
    monkeypatch.setattr(pids, "_nonce", lambda series: next(nonces))
    socket, answer = await lost(server, lobby)
    for _ in range(12):
        socket.emit("x", "x" * 100_000)

    _, _, again = await joined_again(server, answer, {}, offset=FORMER)
    await turns()
    assert again["sid"] == answer["sid"]
    assert again["pid"] != answer["pid"]


async def test_who_has_missed_too_much_of_the_new_socket_is_told_so(
    server: Server, lobby: Lobby
) -> None:
    socket, answer = await lost(server, lobby)
    socket.emit("end", "a")
    for _ in range(11):
        socket.emit("x", "x" * 100_000)
    for _ in range(2):
        peer, wire, again = await joined_again(server, answer, {}, offset=FORMER)
        await turns()
        assert again["sid"] == answer["sid"]
        assert again["pid"] != answer["pid"]
        assert told(wire) == ["a"]
        peer.lose_websocket(wire)
        await turns()


@pytest.mark.parametrize("shed", [False, True])
async def test_a_socket_that_moves_takes_along_what_its_client_has(
    server: Server, lobby: Lobby, shed: bool
) -> None:
    socket, answer = await lost(server, lobby)
    socket.emit("end", "a")
    members, there = _members(server), Lobby()
    elsewhere = worker("two", there)
    member = members._by_pid[answer["pid"]]
    if shed:
        member.outlet.shed()
        assert await members.claim(lobby, {"pid": answer["pid"], "offset": FORMER})
    state = json.loads(json.dumps(member.hand_over("there")))
    moved = _members(elsewhere).bring(there, state, member.socket.handshake, None)
    moved.detach("transport close", recoverable=True)

    _, wire, again = await joined_again(elsewhere, answer, {}, offset=FORMER)
    await turns()

    assert (again == answer) is not shed
    assert again["sid"] == answer["sid"]
    assert told(wire) == ["a"]


async def test_what_was_told_to_the_former_socket_is_not_what_the_new_one_waits_for(
    server: Server, lobby: Lobby
) -> None:
    """Its worker is gone, and what the client asked for through it is not known."""
    _, answer = await lost(server, lobby)
    there = Lobby()
    _, _, again = await joined_again(worker("two", there), answer, {}, offset=FORMER)
    assert again["sid"] != answer["sid"]
    assert there.asked == []


async def test_a_new_socket_that_has_sent_something_is_made_anew(
    server: Server, lobby: Lobby
) -> None:
    before = {"pid": "a" * 20, "offset": FORMER}
    _, wire, answer = await joined(server, before)
    [socket] = lobby.sockets
    socket.marks.note("another", 7)
    socket.emit("x", 1)
    await turns()
    seen = content_of(wire.told[-1])[-1]
    there = Lobby()
    elsewhere = worker("two", there)
    peer, wire, again = await joined_again(elsewhere, answer, {}, offset=seen)
    assert (again, there.asked) == (answer, [{"another": 7}])
    [socket] = there.sockets
    socket.emit("x", 2)
    await turns()
    seen = content_of(wire.told[-1])[-1]
    peer.lose_websocket(wire)
    socket.emit("x", 3)
    _, wire, again = await joined_again(elsewhere, answer, {}, offset=seen)
    await turns()
    assert (again, told(wire)) == (answer, [3])


async def polling(server: Server, auth: dict[str, Any]) -> tuple[Peer, list[Any]]:
    """Join by polling; return the session, and what the first poll brings."""
    peer, _ = await opened(server, "polling")
    peer.start_post(post := Wire())
    peer.receive_payload(post, connect_packet("/", auth).encode())
    await turns()
    return peer, await polled(peer)


async def lost_elsewhere(peer: Peer) -> tuple[Server, Lobby]:
    """Move a session, and lose it once its first message there is confirmed."""
    there = Lobby()
    elsewhere = worker("two", there)
    moved, wire = await goes_on(elsewhere, peer)
    assert moved._receiver is not None
    moved._receiver.confirmed(1)
    moved.lose_websocket(wire)
    await turns()
    return elsewhere, there


@pytest.mark.parametrize("is_recreated", [False, True])
async def test_a_client_that_has_no_event_yet_is_known_after_its_session_has_moved(
    server: Server, lobby: Lobby, is_recreated: bool
) -> None:
    """What it is known to have received since then is not an event."""
    auth = {"pid": "a" * 20, "offset": FORMER}
    if is_recreated:
        _, wire, answer = await joined(worker("gone", gone := Lobby()))
        [socket] = gone.sockets
        socket.emit("x", 1)
        await turns()
        auth = {"pid": answer["pid"], "offset": content_of(wire.told[-1])[-1]}
    peer, (accepted, *_) = await polling(server, auth)
    answer = connected(accepted, "/")
    elsewhere, there = await lost_elsewhere(peer)
    [socket] = there.absent
    socket.emit("x", 2)

    _, wire, again = await joined_again(elsewhere, answer, {}, offset=auth["offset"])
    await turns()

    assert (again, told(wire)) == (answer, [2])


async def test_a_client_that_missed_too_much_is_known_after_its_session_has_moved(
    server: Server, lobby: Lobby
) -> None:
    """It has the vital event, and not what was dropped after that."""
    peer, wire, answer = await joined(server)
    await turns()
    peer.lose_websocket(wire)
    await turns()
    [socket] = lobby.absent
    socket.emit("end", "a")
    for _ in range(11):
        socket.emit("x", "x" * 100_000)
    peer, (accepted, end) = await polling(server, {"pid": answer["pid"]})
    answer, seen = connected(accepted, "/"), content_of(end)[-1]
    elsewhere, _ = await lost_elsewhere(peer)

    _, _, again = await joined_again(elsewhere, answer, {}, offset=seen)

    assert again["sid"] == answer["sid"]


def _members(server: Server) -> Any:
    socketio: Any = server._application
    return socketio._members
