"""`on_joined` and `on_disconnect` as plain methods: called at once, in their order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llmchat.realtime import Ack, Namespace, Socket, event
from tests.support.peers import Wire, joined, opened, serving, turns
from tests.support.wire import event as event_packet


class Plain(Namespace):
    """Notes what happens, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.happened: list[str] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    def note(self, what: str) -> None:
        self.happened.append(what)
        if self.error is not None:
            raise self.error

    def on_joined(self, socket: Socket) -> Any:
        self.note("joined")

    def on_disconnect(self, socket: Socket, reason: str) -> Any:
        self.note("disconnected")

    async def on_forget(self, socket: Socket) -> None:
        self.note("forgotten")

    @event("wait")
    async def wait(self, socket: Socket, *, ack: Ack | None) -> None:
        await self.gate.wait()
        self.note("waited")


class JoinsSlowly(Plain):
    async def on_joined(self, socket: Socket) -> None:
        self.note("joined")


class LeavesSlowly(Plain):
    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        self.note("disconnected")


class AllSlowly(JoinsSlowly, LeavesSlowly):
    pass


KINDS = pytest.mark.parametrize("kind", [Plain, JoinsSlowly, LeavesSlowly, AllSlowly])


async def test_a_plain_method_is_called_at_once() -> None:
    lobby = Plain()
    peer, wire, _ = await joined(serving(lobby))
    assert lobby.happened == ["joined"]

    peer.lose_websocket(wire)

    assert lobby.happened == ["joined", "disconnected"]


async def test_nothing_is_left_running_after_plain_methods() -> None:
    before = asyncio.all_tasks()
    peer, wire, _ = await joined(serving(Plain()))
    await turns()
    running = asyncio.all_tasks()

    peer.lose_websocket(wire)

    assert asyncio.all_tasks() == running
    await turns()
    assert asyncio.all_tasks() == before


@KINDS
async def test_the_hooks_keep_their_order_when_a_client_leaves_at_once(
    kind: type[Plain],
) -> None:
    lobby = kind()
    server = serving(lobby, 0.0)
    peer, wire = await opened(server, "websocket")
    peer.receive_frame(wire, "40")
    while not lobby.sockets:  # noqa: ASYNC110 - no clock is waited for
        await asyncio.sleep(0)

    peer.receive_frame(wire, "41")
    await turns()

    assert lobby.happened == ["joined", "disconnected", "forgotten"]


@KINDS
async def test_on_disconnect_comes_behind_the_events_of_its_connection(
    kind: type[Plain],
) -> None:
    lobby = kind()
    peer, wire, _ = await joined(serving(lobby))
    peer.receive_frame(wire, event_packet("wait"))
    await turns()
    peer.lose_websocket(wire)
    await turns()
    assert lobby.happened == ["joined"]

    lobby.gate.set()
    await turns()

    assert lobby.happened == ["joined", "waited", "disconnected"]


@KINDS
async def test_on_joined_comes_behind_every_on_disconnect(kind: type[Plain]) -> None:
    lobby = kind()
    server = serving(lobby)
    peer, wire, answer = await joined(server)
    peer.receive_frame(wire, event_packet("wait"))
    await turns()
    for _ in range(3):
        peer.lose_websocket(wire)
        peer, wire, again = await joined(server, {"pid": answer["pid"]})
        assert again == answer
    assert lobby.happened == ["joined"]

    lobby.gate.set()
    await turns()

    pairs = ["disconnected", "joined"] * 3
    assert lobby.happened == ["joined", "waited", *pairs]


@KINDS
async def test_an_error_is_logged_and_ends_nothing(
    kind: type[Plain], caplog: pytest.LogCaptureFixture
) -> None:
    lobby = kind()
    lobby.error = ValueError("oh no")
    server = serving(lobby, 0.0)
    peer, wire, answer = await joined(server)
    await turns()
    assert answer["sid"]
    assert len(lobby.sockets) == 1

    peer.lose_websocket(wire)
    await turns()

    assert lobby.happened == ["joined", "disconnected", "forgotten"]
    assert caplog.text.count("A handler of <Socket / ") == 3
    assert caplog.text.count("ValueError: oh no") == 3
    assert len(server) == 0


@pytest.mark.parametrize("way", ["disconnect", "close_transport"])
@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_plain_on_joined_may_send_its_client_away(
    way: str, transport: str
) -> None:
    class Closed(Plain):
        def on_joined(self, socket: Socket) -> Any:
            self.note("joined")
            getattr(socket, way)()

    lobby = Closed()
    peer, wire = await opened(serving(lobby), transport)
    if transport == "websocket":
        peer.receive_frame(wire, "40")
    else:
        peer.start_post(post := Wire())
        peer.receive_payload(post, b"40")
    await turns()

    ended = ["forgotten"] if way == "disconnect" else []
    assert lobby.happened == ["joined", "disconnected", *ended]
    assert len(lobby.absent) == (way == "close_transport")
    if transport == "polling":
        peer.start_poll(wire)
    await turns()
    assert wire.told[0].startswith("40{")
    assert ("41" in "".join(map(str, wire.told))) is (way == "disconnect")
