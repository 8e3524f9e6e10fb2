"""Which sessions are counted as relayed: those that poll by way of other workers."""

from __future__ import annotations

from llmchat.realtime import Namespace, Peer
from llmchat.realtime.relay import names
from llmchat.workers import Mailbox
from tests.support.peers import Wire, opened, serving, turns
from tests.workers.test_mailbox import ONE, TWO, OpenBox, layer, open_box

__all__ = ["layer", "open_box"]


async def polls_elsewhere(peer: Peer, other: Mailbox) -> None:
    peer.send(["one"])
    poll = other.ask(ONE, names.POLL, [peer.sid])
    assert await poll == [names.ANSWER, b"4one"]


async def polls_here(peer: Peer) -> None:
    peer.send(["two"])
    peer.start_poll(wire := Wire())
    peer.answer_sent(wire)
    assert wire.told == ["4two"]


async def test_a_session_counts_by_its_latest_poll(open_box: OpenBox) -> None:
    server, two = serving(Namespace()), await open_box(TWO)
    server.join(await open_box(ONE))
    peer, _ = await opened(server, "polling")
    assert server.relayed == 0
    for _ in range(2):
        await polls_elsewhere(peer, two)
        assert server.relayed == 1
        await polls_here(peer)
        assert server.relayed == 0


async def test_a_session_that_upgrades_here_is_relayed_no_more(
    open_box: OpenBox,
) -> None:
    server, two = serving(Namespace()), await open_box(TWO)
    server.join(await open_box(ONE))
    peer, _ = await opened(server, "polling")
    await polls_elsewhere(peer, two)

    peer.open_websocket(wire := Wire())
    peer.receive_frame(wire, "2probe")
    await turns()
    assert server.relayed == 1
    peer.receive_frame(wire, "5")

    assert peer.session.transport == "websocket"
    assert server.relayed == 0


async def test_a_session_that_has_ended_is_relayed_no_more(open_box: OpenBox) -> None:
    server, two = serving(Namespace()), await open_box(TWO)
    server.join(await open_box(ONE))
    peer, _ = await opened(server, "polling")
    await polls_elsewhere(peer, two)

    peer.close()

    assert server.relayed == 0
