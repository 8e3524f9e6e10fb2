"""A session that polls at one worker, and is probed by a WebSocket at another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from llmchat.realtime import Namespace, Peer, Server, Socket, rest
from llmchat.realtime.relay import RemoteSession, names, reception
from llmchat.workers import Ask, Mailbox
from tests.support.peers import Wire, opened, serving, turns
from tests.support.wire import connected
from tests.workers.test_mailbox import ONE, TWO, OpenBox, layer, open_box
from tests.workers.test_races import soon

__all__ = ["layer", "open_box"]
NOOP, CLOSE = [names.ANSWER, b"6"], [names.ANSWER, b"1"]


class Slow(Wire):
    """A WebSocket that writes nothing until its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate.clear()
        self.is_asked = False

    async def send_frame(self, frame: str | bytes) -> None:
        self.is_asked = True
        await super().send_frame(frame)


@dataclass
class Polling:
    """A client whose session is at one worker; its requests arrive at another."""

    peer: Peer
    server: Server
    there: Mailbox
    here: Mailbox

    def ask(self, name: str) -> Ask:
        return self.here.ask(ONE, name, [self.peer.sid])

    async def hold(self) -> Ask:
        """Poll, and return when the session holds the GET."""
        poll = self.ask(names.POLL)
        await soon(lambda: self.peer._poll is not None)
        return poll

    async def answered(self, text: bytes, poll: Ask) -> None:
        """Let an event answer a GET: it was held until then."""
        await turns()
        assert not poll.done()
        self.peer.send([text.decode()])
        assert await poll == [names.ANSWER, b"4" + text]

    async def probed(self, wire: Wire) -> RemoteSession:
        """Open a WebSocket at the other worker, and ping."""
        taking = self.server._may_take_over, self.server._take_over
        session = RemoteSession(self.peer.sid, ONE, self.here, *taking)
        session.open_websocket(wire)
        session.receive_frame(wire, "2probe")
        if isinstance(wire, Slow):
            await soon(lambda: wire.is_asked)
        else:
            await soon(lambda: "3probe" in wire.told)
        return session

    async def upgraded(self, session: RemoteSession, wire: Wire) -> None:
        """End the upgrade, and let the session use its WebSocket."""
        session.receive_frame(wire, "5")
        await soon(lambda: len(self.server) == 1)
        (moved,) = self.server
        moved.send(["moved"])
        await soon(lambda: "4moved" in wire.told)


Start = Callable[..., Awaitable[Polling]]


@pytest.fixture
def start(open_box: OpenBox) -> Start:
    async def start_one(namespace: Namespace | None = None) -> Polling:
        there, here = await open_box(ONE), await open_box(TWO)
        servers = [serving(namespace or Namespace()), serving(Namespace())]
        for server, box in zip(servers, (there, here), strict=True):
            server.join(box)
        peer, _ = await opened(servers[0], "polling")
        return Polling(peer, servers[1], there, here)

    return start_one


async def test_the_pong_is_written_before_the_poll_is_answered(start: Start) -> None:
    polling, wire = await start(), Slow()
    poll = await polling.hold()
    session = await polling.probed(wire)
    await turns()
    assert not poll.done()

    wire.gate.set()

    assert await asyncio.wait_for(poll, 20) == NOOP
    assert wire.told == ["3probe"]
    # A client that has the pong polls no more.
    await polling.upgraded(session, wire)


async def test_events_are_sent_while_the_pong_is_written(start: Start) -> None:
    polling, wire = await start(), Slow()
    poll = await polling.hold()
    session = await polling.probed(wire)
    await polling.answered(b"first", poll)
    poll = await polling.hold()
    await polling.answered(b"second", poll)

    wire.gate.set()

    assert await asyncio.wait_for(polling.ask(names.POLL), 20) == NOOP
    await polling.upgraded(session, wire)


async def test_a_session_that_ends_while_the_pong_is_written_takes_its_probe_along(
    start: Start,
) -> None:
    polling, wire = await start(), Slow()
    poll = await polling.hold()
    await polling.probed(wire)

    polling.peer.close()
    wire.gate.set()

    assert await asyncio.wait_for(poll, 20) == CLOSE
    await soon(lambda: wire.is_closed)


async def test_a_websocket_that_is_lost_while_the_pong_is_written_leaves_the_poll(
    start: Start,
) -> None:
    polling, wire = await start(), Slow()
    poll = await polling.hold()
    session = await polling.probed(wire)

    session.lose_websocket(wire)
    wire.gate.set()
    await soon(lambda: not polling.peer.session.probe_is_open)

    await polling.answered(b"first", poll)
    session = await polling.probed(again := Slow())
    poll = await polling.hold()
    await polling.answered(b"second", poll)
    again.gate.set()
    assert await asyncio.wait_for(polling.ask(names.POLL), 20) == NOOP
    await polling.upgraded(session, again)


async def test_a_worker_that_stops_leaves_a_session_where_it_is(start: Start) -> None:
    polling, wire = await start(), Wire()
    session = await polling.probed(wire)
    polling.server.shutdown()
    session.receive_frame(wire, "5")
    await soon(lambda: wire.is_closed)
    assert len(polling.server) == 0
    await polling.answered(b"still there", await polling.hold())


async def test_a_session_may_move_before_its_worker_hears_of_the_pong(
    start: Start,
) -> None:
    polling, wire, arrives = await start(), Wire(), asyncio.Event()
    hear, heard = polling.there._handlers[names.PING_PROBE], []

    async def hear_late(sender: str, body: Any) -> Any:
        await arrives.wait()
        heard.append(await hear(sender, body))
        return heard[0]

    polling.there.on(names.PING_PROBE, hear_late)
    poll = await polling.hold()
    session = await polling.probed(wire)
    await polling.upgraded(session, wire)
    assert await poll == NOOP

    arrives.set()
    await soon(lambda: heard == [False])

    assert wire.told == ["3probe", "4moved"]


async def test_a_worker_of_an_earlier_version_answers_the_poll_itself(
    start: Start,
) -> None:
    polling, wire = await start(), Wire()
    del polling.there._handlers[names.MAY_PONG]
    poll = await polling.hold()

    session = await polling.probed(wire)

    assert await asyncio.wait_for(poll, 20) == NOOP
    await polling.upgraded(session, wire)


async def test_a_worker_of_an_earlier_version_may_ask_to_ping(start: Start) -> None:
    polling = await start()
    poll = await polling.hold()
    polling.ask(names.OPEN_PROBE)

    assert await polling.ask(names.PING_PROBE) is True

    assert await asyncio.wait_for(poll, 20) == NOOP


async def test_what_a_poll_elsewhere_is_answered_with_is_gathered(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "GATHER_S", 2.0)
    polling = await start()
    polling.peer.send(["one"])
    assert await polling.ask(names.POLL) == [names.ANSWER, b"4one"]
    poll = polling.ask(names.POLL)
    await soon(lambda: polling.peer._changed is not None)

    polling.peer.send(["two"])
    await turns()
    polling.peer.send(["three"])

    assert await poll == [names.ANSWER, b"4two\x1e4three"]


@pytest.mark.parametrize("is_first", ["the poll", "the probe"])
async def test_a_poll_is_not_delayed_while_a_websocket_is_probed(
    start: Start, monkeypatch: pytest.MonkeyPatch, is_first: str
) -> None:
    polling = await start()
    polling.peer.send(["one"])
    assert await polling.ask(names.POLL) == [names.ANSWER, b"4one"]
    monkeypatch.setattr(reception, "GATHER_S", 3600.0)

    if is_first == "the poll":
        poll = polling.ask(names.POLL)
        await soon(lambda: polling.peer._changed is not None)
        polling.ask(names.OPEN_PROBE)
    else:
        polling.ask(names.OPEN_PROBE)
        await soon(lambda: polling.peer.session.probe_is_open)
        poll = polling.ask(names.POLL)
    await polling.ask(names.PING_PROBE)

    assert await asyncio.wait_for(poll, 20) == NOOP


class Gate(Namespace):
    """Lets clients in when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.opens = asyncio.Event()

    async def on_connect(self, socket: Socket) -> None:
        await self.opens.wait()


async def taking(start: Start, gate: Gate) -> tuple[Polling, Wire]:
    """Upgrade a session elsewhere while its client is being let in."""
    polling, wire = await start(gate), Wire()
    session = await polling.probed(wire)
    polling.peer.start_post(post := Wire())
    polling.peer.receive_payload(post, b"40")
    session.receive_frame(wire, "5")
    await soon(lambda: bool(polling.here.asks(ONE, names.TAKE)))
    return polling, wire


async def test_a_session_moves_when_its_client_has_been_let_in(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That may take longer than anything else that a move waits for."""
    monkeypatch.setattr(rest.at_rest, "__defaults__", (0.1,))
    polling, wire = await taking(start, gate := Gate())
    await asyncio.wait(polling.here.asks(ONE, names.TAKE), timeout=0.5)
    assert polling.peer.is_joining

    gate.opens.set()

    await soon(lambda: len(wire.told) == 2)
    connected(wire.told[1], "/")
    assert len(polling.server) == 1


async def test_a_session_whose_client_is_not_let_in_for_too_long_ends(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest.at_rest, "__defaults__", (0.1,))
    monkeypatch.setattr(reception, "CLAIM_S", 0.1)
    polling, wire = await taking(start, Gate())

    await soon(lambda: wire.is_closed)

    assert polling.peer.session.is_closed


async def test_a_session_that_ends_while_its_client_is_let_in_moves_no_more(
    start: Start,
) -> None:
    polling, wire = await taking(start, Gate())

    polling.peer.close()

    await soon(lambda: wire.is_closed)
    assert len(polling.server) == 0
