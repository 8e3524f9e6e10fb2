"""A session that is on its way to a worker when its client returns for its socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from llmchat.realtime import (
    Namespace,
    Options,
    Peer,
    Request,
    Server,
    Socket,
    SocketIO,
    SocketIOOptions,
)
from llmchat.realtime.members import Members, Nowhere
from llmchat.realtime.relay import claims, names
from llmchat.realtime.request import Handshake
from llmchat.realtime.transports import Endpoint
from llmchat.workers import Mailbox, address_of
from tests.realtime.test_moved import polled, polling
from tests.support.peers import Wire, joined_again
from tests.support.wire import content_of
from tests.workers.test_mailbox import Lossy, OpenBox, hears_all, layer, open_box
from tests.workers.test_races import AnyLine, soon

__all__ = ["layer", "open_box"]


class Lobby(Namespace):
    """A namespace that takes as long as it is told to judge who comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.judges = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def on_revive(self, socket: Socket, marks: Mapping[str, int]) -> bool:
        self.judges.set()
        await self.gate.wait()
        return True


@dataclass
class Worker:
    box: Mailbox
    server: Server
    members: Members
    lobby: Lobby


Start = Callable[[str], Awaitable[Worker]]


@pytest.fixture
async def start(open_box: OpenBox, layer: Lossy) -> AsyncIterator[Start]:
    started: list[Worker] = []

    async def start_one(name: str) -> Worker:
        box, lobby = await open_box(address_of(name)), Lobby()
        await hears_all(layer, box)
        options = SocketIOOptions(recovery_window_s=60, secret=b"s")
        socketio = SocketIO([lobby], options)
        server = Server(socketio, Options(), secret=b"s")
        server.join(box)
        socketio.join(box)
        started.append(Worker(box, server, socketio._members, lobby))
        return started[-1]

    yield start_one
    for worker in started:
        worker.server.shutdown()
        worker.members.shutdown()


@dataclass
class Moving:
    """A client whose session has left one worker, and has not come to the other.

    It has the first event of its socket; the second waits for it.
    """

    there: Worker
    here: Worker
    answer: dict[str, Any]
    seen: str
    websocket: Wire
    session: Endpoint
    arrives: asyncio.Event  # set it to let the session arrive
    claimed: asyncio.Event  # the worker that it has left was asked for the socket

    @property
    def pid(self) -> str:
        pid: str = self.answer["pid"]
        return pid

    def lose(self) -> None:
        """Lose the WebSocket for which the session moves."""
        self.session.lose_websocket(self.websocket)

    async def returns(self, worker: Worker) -> tuple[dict[str, Any], list[Any]]:
        """Return to a worker; return its answer, and the events that it sends."""
        joining = joined_again(worker.server, self.answer, {}, offset=self.seen)
        _, wire, again = await joining
        await soon(lambda: len(wire.told) > 0)
        return again, [content_of(frame)[1] for frame in wire.told]


async def probed(worker: Worker, peer: Peer) -> tuple[Endpoint, Wire]:
    """Open a WebSocket at another worker, ready to take the session over."""
    query = {"EIO": "4", "transport": "websocket", "sid": peer.sid}
    _, session = worker.server.admit(Request("GET", True, Handshake(query=query)))
    assert session is not None
    wire = Wire()
    session.open_websocket(wire)
    session.receive_frame(wire, "2probe")
    await soon(lambda: "3probe" in wire.told)
    return session, wire


@pytest.fixture
async def moving(start: Start) -> Moving:
    there, here = await start("there"), await start("here")
    peer, answer = await polling(there.server)
    (socket,) = there.lobby.sockets
    socket.emit("said", 1)
    (frame,) = await polled(peer)
    session, wire = await probed(here, peer)
    take, claim = (there.box._handlers[name] for name in (names.TAKE, names.CLAIM))
    arrives, claimed = asyncio.Event(), asyncio.Event()

    async def take_slowly(sender: str, body: Any) -> Any:
        state = await take(sender, body)
        await arrives.wait()
        return state

    async def note_claim(sender: str, body: Any) -> Any:
        claimed.set()
        return await claim(sender, body)

    there.box.on(names.TAKE, take_slowly)
    there.box.on(names.CLAIM, note_claim)
    socket.emit("said", 2)
    session.receive_frame(wire, "5")
    address = here.box.address
    await soon(lambda: there.members.moved_to(answer["pid"]) == address)
    seen = content_of(frame)[-1]
    return Moving(there, here, answer, seen, wire, session, arrives, claimed)


@pytest.mark.parametrize("asks", ["it", "the one it has left", "another"])
async def test_a_socket_that_comes_with_its_session_is_waited_for(
    start: Start, moving: Moving, asks: str
) -> None:
    workers = {"it": moving.here, "the one it has left": moving.there}
    moving.lose()
    asked = workers.get(asks) or await start("another")
    returning = asyncio.create_task(moving.returns(asked))
    if asked is not moving.there:
        await asyncio.wait_for(moving.claimed.wait(), 20)
    await asyncio.sleep(0.1)

    moving.arrives.set()

    assert await returning == (moving.answer, [2])


async def test_a_socket_that_was_here_before_is_waited_for(moving: Moving) -> None:
    """What is known here is only where it once went."""
    moving.here.members.note_moved(moving.pid, moving.there.box.address, 0.0)
    moving.lose()
    returning = asyncio.create_task(moving.returns(moving.here))
    await asyncio.wait_for(moving.claimed.wait(), 20)
    await asyncio.sleep(0.1)

    moving.arrives.set()

    assert await returning == (moving.answer, [2])


async def test_a_socket_that_was_here_on_its_way_there_is_waited_for(
    start: Start, moving: Moving
) -> None:
    """It has been here, then on a third worker, and comes from there by now."""
    third = await start("third")
    moving.here.members.note_moved(moving.pid, third.box.address, 0.0)
    third.members.note_moved(moving.pid, moving.there.box.address, 0.0)
    moving.lose()
    returning = asyncio.create_task(moving.returns(await start("another")))
    asked, here = moving.here.box._working, moving.there.box.address
    await soon(lambda: bool(moving.here.box.asks(here, names.TAKE)) and bool(asked))
    await asyncio.sleep(0.1)

    moving.arrives.set()

    assert await returning == (moving.answer, [2])


async def test_a_socket_that_comes_while_its_client_is_judged_is_what_it_gets(
    moving: Moving,
) -> None:
    lobby, members = moving.here.lobby, moving.here.members

    async def fetch(namespace: Namespace, auth: dict[str, Any]) -> Nowhere:
        return Nowhere.GONE

    members.fetch = fetch
    lobby.gate.clear()
    moving.lose()
    returning = asyncio.create_task(moving.returns(moving.here))
    await asyncio.wait_for(lobby.judges.wait(), 20)

    moving.arrives.set()
    await soon(lambda: moving.pid in members._by_pid)
    lobby.gate.set()

    assert await returning == (moving.answer, [2])
    assert [socket.id for socket in lobby.sockets] == [moving.answer["sid"]]


@pytest.mark.parametrize("asks", ["the one it has left", "another"])
async def test_a_session_that_brings_other_sockets_is_not_waited_for(
    start: Start, moving: Moving, monkeypatch: pytest.MonkeyPatch, asks: str
) -> None:
    """It may be waiting for this very reply: its client joins, and moves meanwhile."""
    monkeypatch.setattr(claims, "ARRIVAL_S", 3600.0)
    here, another = moving.here, await start("another")
    workers = {"the one it has left": moving.there, "another": another}
    asked = workers[asks]
    issued_here = here.members.pids.make("/", "s" * 20, "")
    issued_there = moving.there.members.pids.make("/", "s" * 20, "")
    here.members.note_moved(issued_there, another.box.address, 0.0)

    for pid in (issued_here, issued_there):
        fetching = asked.members.fetch(asked.lobby, {"pid": pid})
        assert not isinstance(await asyncio.wait_for(fetching, 20), dict)

    assert here.box.asks(moving.there.box.address, names.TAKE)
    moving.arrives.set()


@pytest.mark.parametrize("is_lost", [True, False])
@pytest.mark.parametrize("is_elsewhere", [True, False])
async def test_a_socket_that_comes_too_late_does_not_replace_a_later_one(
    start: Start, moving: Moving, is_lost: bool, is_elsewhere: bool
) -> None:
    """Its client has it anew; the WebSocket may be lost before anybody notices."""
    here, pid = moving.here, moving.pid
    at = await start("another") if is_elsewhere else here
    auth = {"pid": pid, "offset": moving.seen}
    if is_lost:
        moving.lose()
    anew = await at.members.revive(at.lobby, auth, Handshake(), AnyLine())
    assert anew is not None
    anew.admit()
    if is_elsewhere:
        await soon(lambda: here.members.moved_to(pid) == at.box.address)

    moving.arrives.set()
    await soon(lambda: not here.box.asks(moving.there.box.address, names.TAKE))
    await soon(lambda: len(here.server) == 0)

    await soon(lambda: is_lost or moving.websocket.is_closed)
    assert at.members._by_pid[pid] is anew
    assert at.lobby.sockets == [anew.socket]
    assert is_elsewhere is (here.members.moved_to(pid) is not None)
    assert here.lobby.absent == []


async def test_a_socket_that_comes_replaces_what_was_left_of_it(
    moving: Moving,
) -> None:
    here, auth = moving.here, {"pid": moving.pid, "offset": moving.seen}
    left = await here.members.revive(here.lobby, auth, Handshake(), AnyLine())
    assert left is not None
    left.admit()
    left.detach("transport close", recoverable=True)
    left.made_at = 0.0  # as if the one on its way had been recreated later

    moving.arrives.set()

    await soon(lambda: len(here.lobby.sockets) == 1)
    (socket,) = here.lobby.sockets
    assert here.members._by_pid[moving.pid].socket is socket
    await soon(lambda: here.lobby.sockets_in(socket.id) == [socket])
