"""A session that polls at one worker, and is probed by a WebSocket at another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from llmchat.realtime import Namespace, Peer
from llmchat.realtime.relay import names, reception
from llmchat.workers import Ask, Mailbox
from tests.support.peers import opened, serving, turns
from tests.workers.test_mailbox import ONE, TWO, OpenBox, layer, open_box
from tests.workers.test_races import soon

__all__ = ["layer", "open_box"]
NOOP = [names.ANSWER, b"6"]


@dataclass
class Polling:
    """A client whose session is at one worker; its requests arrive at another."""

    peer: Peer
    there: Mailbox
    here: Mailbox

    def ask(self, name: str) -> Ask:
        return self.here.ask(ONE, name, [self.peer.sid])

    async def hold(self) -> Ask:
        """Poll, and return when the session holds the GET."""
        poll = self.ask(names.POLL)
        await soon(lambda: self.peer._poll is not None)
        return poll


Start = Callable[[], Awaitable[Polling]]


@pytest.fixture
def start(open_box: OpenBox) -> Start:
    async def start_one() -> Polling:
        server, here = serving(Namespace()), await open_box(TWO)
        there = await open_box(ONE)
        server.join(there)
        peer, _ = await opened(server, "polling")
        return Polling(peer, there, here)

    return start_one


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
