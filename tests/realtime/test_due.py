"""A session's deadlines: they count once they have passed, before any timer fires."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmchat.realtime import Namespace, Peer, Request, Server
from llmchat.realtime.engineio.errors import Refusal, RequestError
from llmchat.realtime.request import Handshake
from tests.support.peers import Wire, opened, serving, turns

PING_S, PONG_S = 25.0, 20.0


class Clock:
    """Lets the time of the running event loop jump, without its timers firing yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._past_s = 0.0
        loop = asyncio.get_running_loop()
        real = loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + self._past_s)

    def jump(self, seconds: float) -> None:
        self._past_s += seconds


def is_known(server: Server, peer: Peer) -> bool:
    """Return whether a request that names the session is admitted to it."""
    query = {"EIO": "4", "transport": peer.session.transport, "sid": peer.sid}
    websocket = peer.session.transport == "websocket"
    request = Request("GET", websocket, Handshake(query=query))
    try:
        return server.admit(request)[1] is peer
    except RequestError as error:
        return error.refusal is not Refusal.UNKNOWN_SID


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_silent_session_is_over_at_its_deadline(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serving(Namespace())
    peer, wire = await opened(server, transport)
    clock = Clock(monkeypatch)
    if transport == "polling":
        peer.start_post(wire)
        peer.receive_payload(wire, b"40")
    else:
        peer.receive_frame(wire, "40")
    await turns()

    clock.jump(PING_S - 1)
    assert is_known(server, peer)
    assert not peer.is_due
    clock.jump(2)
    assert peer.is_due
    assert is_known(server, peer)
    clock.jump(PONG_S - 2)
    assert is_known(server, peer)
    clock.jump(2)

    assert not is_known(server, peer)
    assert len(server) == 0


async def test_a_client_that_joins_nothing_is_over_at_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, clock = serving(Namespace()), Clock(monkeypatch)
    peer, _ = await opened(server, "polling")
    for _ in range(2):
        clock.jump(22)
        peer.start_post(wire := Wire())
        peer.receive_payload(wire, b"3")
        assert is_known(server, peer)
    clock.jump(2)  # the time to join is 45 s

    assert is_known(server, peer)
    assert peer.session.is_closing


async def test_a_session_whose_timer_was_never_set_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, clock = serving(Namespace()), Clock(monkeypatch)
    query = {"EIO": "4", "transport": "polling"}
    peer = await server.open(Request("GET", False, Handshake(query=query)))

    assert peer.is_due
    clock.jump(PING_S + 1)
    assert is_known(server, peer)
    clock.jump(PONG_S)
    assert not is_known(server, peer)


class Driven:
    """A session and its transports, to be driven at random."""

    def __init__(self, peer: Peer, wire: Wire, clock: Clock) -> None:
        self.peer, self.clock = peer, clock
        self.wires = [wire]

    def poll(self) -> None:
        self.peer.start_poll(wire := Wire())
        self.peer.answer_sent(wire)

    def post(self, body: bytes) -> None:
        self.peer.start_post(wire := Wire())
        self.peer.receive_payload(wire, body)

    def probe(self) -> None:
        self.wires.append(Wire())
        self.peer.open_websocket(self.wires[-1])

    def frame(self, frame: str) -> None:
        self.peer.receive_frame(self.wires[-1], frame)

    def lose(self) -> None:
        self.peer.lose_websocket(self.wires[-1])

    def send(self, size: int) -> None:
        self.peer.send(["x" * size])

    def jump(self, seconds: float) -> None:
        self.clock.jump(seconds)

    def tick(self) -> None:
        self.peer.tick()

    def close(self) -> None:
        self.peer.close()


STEPS = st.one_of(
    st.sampled_from(["poll", "probe", "lose", "tick", "close"]).map(lambda do: (do,)),
    st.tuples(st.just("post"), st.sampled_from([b"40", b"3", b"451-", b"1", b"!"])),
    st.tuples(
        st.just("frame"), st.sampled_from(["2probe", "5", "40", "3", "451-", "1"])
    ),
    st.tuples(st.just("send"), st.sampled_from([1, 300_000])),
    st.tuples(st.just("jump"), st.floats(0.0, 30.0)),
)


@given(st.sampled_from(["polling", "websocket"]), st.lists(STEPS, max_size=12))
def test_the_timer_is_never_set_to_later_than_the_deadline(
    transport: str, steps: list[tuple[Any, ...]]
) -> None:
    async def drive(monkeypatch: pytest.MonkeyPatch) -> None:
        server = serving(Namespace())
        peer, wire = await opened(server, transport)
        driven = Driven(peer, wire, Clock(monkeypatch))
        for do, *arguments in steps:
            getattr(driven, do)(*arguments)
            if do != "jump":
                deadline = peer._next_deadline()
                assert deadline is None or peer._timer.is_due(deadline)
            if arguments != [300_000]:
                await turns()
        server.shutdown()

    with pytest.MonkeyPatch.context() as monkeypatch:
        asyncio.run(drive(monkeypatch))
