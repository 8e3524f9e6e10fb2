"""`socket.disconnect()`, whenever it is called, and joins that end the connection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from llmchat.realtime import Namespace, Options, Server, SocketIO, SocketIOOptions
from llmchat.realtime.peer import Peer
from llmchat.realtime.sockets import Socket
from llmchat.workers import address_of
from tests.support.peers import Wire, joined, joined_again, opened, turns
from tests.support.wire import connect_packet, connected, content_of

TOO_MUCH = "x" * 1_100_000


class Noting(Namespace):
    """A namespace that notes which of its hooks are called."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[str] = []

    async def on_connect(self, socket: Socket) -> None:
        self.called.append("connect")

    async def on_joined(self, socket: Socket) -> None:
        self.called.append("joined")

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        self.called.append(reason)

    async def on_forget(self, socket: Socket) -> None:
        self.called.append("forget")


class Other(Noting):
    name = "/other"


def serving(*namespaces: Namespace, address: str = "") -> Server:
    options = SocketIOOptions(recovery_window_s=60, secret=b"s", address=address)
    return Server(SocketIO(namespaces, options), Options(), secret=b"s")


async def behind(server: Server, lobby: Namespace) -> tuple[Peer, Wire, Any, Socket]:
    """Return a client for which one more message is too many."""
    peer, wire, answer = await joined(server)
    [socket] = lobby.sockets
    wire.gate.clear()
    socket.emit("much", TOO_MUCH)
    return peer, wire, answer, socket


EXPELLED = ["connect", "joined", "server namespace disconnect", "forget"]


@pytest.mark.parametrize("close", [False, True])
async def test_a_client_that_is_far_behind_leaves_for_good(close: bool) -> None:
    lobby = Noting()
    server = serving(lobby)
    _, _, answer, socket = await behind(server, lobby)

    socket.disconnect(close)
    await turns()

    assert (socket.connected, socket.is_absent) == (False, False)
    assert lobby.called == EXPELLED
    _, _, again = await joined_again(server, answer, {})
    assert again["sid"] != answer["sid"]


async def test_a_client_that_is_far_behind_leaves_all_namespaces() -> None:
    lobby, other = Noting(), Other()
    server = serving(lobby, other)
    peer, wire, _ = await joined(server)
    peer.receive_frame(wire, "40/other,")
    await turns()
    [socket], [second] = lobby.sockets, other.sockets
    wire.gate.clear()
    socket.emit("much", TOO_MUCH)

    socket.disconnect(close=True)
    await turns()

    assert lobby.called == other.called == EXPELLED
    assert not second.is_absent


async def test_a_join_that_is_too_much_for_its_connection_leaves_nothing() -> None:
    lobby, other = Noting(), Other()
    server = serving(lobby, other)
    peer, wire, answer, socket = await behind(server, lobby)

    peer.receive_frame(wire, "40/other,")
    await turns()

    # Its client never received an answer, and cannot come back for the socket.
    assert (other.sockets, other.absent, other.called) == ([], [], ["connect"])
    assert lobby.absent == [socket]
    _, _, again = await joined_again(server, answer, {})
    assert again["sid"] == answer["sid"]


async def test_a_return_that_ends_its_connection_may_be_tried_again() -> None:
    lobby, other = Noting(), Other()
    server = serving(lobby, other)
    peer, wire, _ = await joined(server)
    peer.receive_frame(wire, "40/other,")
    await turns()
    answer = connected(wire.told.pop(), "/other")
    [second] = other.sockets
    peer.lose_websocket(wire)
    await turns()
    peer, wire, _, _ = await behind(server, lobby)

    returning = connect_packet("/other", {"pid": answer["pid"]})
    peer.receive_frame(wire, returning)
    await turns()
    assert other.absent == [second]
    peer, wire = await opened(server, "websocket")
    peer.receive_frame(wire, returning)
    await turns()

    assert connected(wire.told[0], "/other") == answer
    assert second.connected
    assert other.called == [
        *("connect", "joined", "transport close"),
        *("transport error", "joined"),
    ]


class Unwelcoming(Noting):
    """A namespace that lets no client stay, and says so."""

    close = False

    async def on_connect(self, socket: Socket) -> None:
        await super().on_connect(socket)
        socket.emit("full", 1)
        socket.disconnect(self.close)


async def test_who_is_disconnected_on_connect_is_told_why_and_leaves() -> None:
    lobby = Unwelcoming()
    server = serving(lobby)

    peer, wire, answer = await joined(server)
    await turns()

    assert content_of(wire.told[0])[:2] == ["full", 1]
    assert wire.told[1:] == ["41"]
    assert (lobby.sockets, lobby.absent) == ([], [])
    assert lobby.called == ["connect", "server namespace disconnect", "forget"]
    # The connection continues, and its client may ask again.
    assert peer.session.is_open
    _, _, again = await joined_again(server, answer, {})
    assert again["sid"] != answer["sid"]


async def test_who_is_disconnected_on_connect_may_lose_the_connection() -> None:
    lobby = Unwelcoming()
    lobby.close = True
    peer, wire = await opened(serving(lobby), "websocket")

    peer.receive_frame(wire, connect_packet("/", {}))
    await turns()

    assert wire.told == [("closed", 1000)]
    assert (lobby.sockets, lobby.absent, lobby.called) == ([], [], ["connect"])


class Distant(Noting):
    """A namespace that has no place for clients from other workers."""

    def move_in(self, socket: Socket, state: Any) -> None:
        socket.disconnect()

    async def on_revive(self, socket: Socket, marks: Mapping[str, int]) -> bool:
        socket.disconnect()
        return True


class Local(Other):
    """A namespace whose clients do not move."""

    def move_out(self, socket: Socket, worker: str) -> None:
        socket.disconnect()


async def at_rest(server: Server, *joining: bytes) -> Peer:
    """Return a session that joined with these packets, and may move."""
    peer, _ = await opened(server, "polling")
    for packet in joining:
        peer.start_post(post := Wire())
        peer.receive_payload(post, packet)
    await turns()
    peer.start_poll(poll := Wire())
    peer.answer_sent(poll)
    return peer


async def moved(before: Server, after: Server, *joining: bytes) -> tuple[Peer, Wire]:
    """Return a session that joined with these packets, and has moved."""
    peer = await at_rest(before, *joining)
    state = json.loads(json.dumps(peer.hand_over("there")))
    there, wire = after._take_over(peer.sid, state), Wire()
    there.adopt(wire)
    await turns()
    return there, wire


async def test_who_is_disconnected_before_a_move_stays_out() -> None:
    local, other = Local(), Local()
    lobby = Namespace()
    before, after = serving(Namespace(), local), serving(lobby, other)

    peer, wire = await moved(before, after, b"40", b"40/other,")

    assert wire.told == ["41/other,"]
    assert local.called == EXPELLED
    assert len(lobby.sockets) == 1
    assert (other.sockets, other.absent) == ([], [])
    peer.receive_frame(wire, "40/other,")
    await turns()
    assert len(other.sockets) == 1


async def test_who_is_disconnected_on_a_move_leaves_behind_it() -> None:
    lobby = Distant()

    _, wire = await moved(serving(Namespace()), serving(lobby), b"40")

    assert wire.told == ["41"]
    assert (lobby.sockets, lobby.absent) == ([], [])
    assert lobby.called == ["server namespace disconnect", "forget"]


async def test_who_is_disconnected_when_made_anew_leaves_behind_it() -> None:
    lobby = Distant()
    _, _, answer = await joined(serving(Namespace(), address=address_of("one")))

    _, wire, again = await joined_again(serving(lobby), answer, {})
    await turns()

    assert (again, wire.told) == (answer, ["41"])
    assert (lobby.sockets, lobby.absent) == ([], [])
    assert lobby.called == ["server namespace disconnect", "forget"]


class Closing(Other):
    """A namespace whose clients do not move, but lose their connection."""

    def move_out(self, socket: Socket, worker: str) -> None:
        socket.disconnect(close=True)


@pytest.mark.parametrize("joining", [[b"40/other,"], [b"40", b"40/other,"]])
async def test_a_connection_that_ends_as_it_is_to_move_does_not(
    joining: list[bytes],
) -> None:
    lobby, other = Noting(), Closing()
    peer = await at_rest(serving(lobby, other), *joining)
    sockets = [*lobby.sockets, *other.sockets]

    state = peer.hand_over("there")
    await turns()

    # Only its last messages.
    assert state is not None
    assert set(state) == {"last", "base64_only"}
    assert "1/other," in state["last"]
    assert not any(socket.connected or socket.is_absent for socket in sockets)
    assert other.called == EXPELLED
    assert lobby.called in ([], ["connect", "joined"])
