"""Workers are told which sockets were recreated elsewhere, even if they hear late."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import pytest

from llmchat.realtime import Namespace
from llmchat.realtime import members as members_module
from llmchat.realtime.members import Members
from llmchat.realtime.pids import Pids
from llmchat.realtime.relay import announcements, names
from llmchat.realtime.relay.announcements import Announcements
from llmchat.workers import Mailbox, address_of
from llmchat.workers.address import channel_of
from tests.workers.test_chains import Client, Start, Worker, start
from tests.workers.test_mailbox import Lossy, OpenBox, hears_all, layer, open_box
from tests.workers.test_races import SHAKE, Joining, Slow, line, soon

__all__ = ["layer", "open_box", "start"]
ONE, TWO = map(address_of, ("one", "two"))
PID = Pids(ONE, b"x").make("/", "s" * 20, "")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcements, "RETRY_S", 0.1)
    monkeypatch.setattr(announcements, "AGAIN_S", (0.1, 0.2, 0.3))


async def test_a_client_finds_its_socket_where_it_was_made_anew_during_an_outage(
    start: Start, layer: Lossy
) -> None:
    second, third = await start("second"), await start("third")
    client = Client()
    await client.begin(second)
    client.hear(second, 2)
    client.lose()
    layer.is_down = True
    assert await client.join(third)
    client.lose()
    await soon(lambda: layer.refused > 0)
    (socket,) = third.namespace.sockets_in(client.sid)
    socket.emit("said", "what it has asked for there")

    layer.is_down = False
    await soon(lambda: second.members.moved_to(client.pid) == third.box.address)

    assert second.namespace.find(client.sid) is None
    peer = client.come(second)
    assert await client.joined(peer)
    await soon(lambda: len(peer.sent) > 1)


async def heard_by(layer: Lossy, box: Mailbox) -> list[Any]:
    """Return the list to which a mailbox adds what it is told."""
    heard: list[Any] = []

    async def hear(sender: str, body: Any) -> None:
        heard.append(body)

    box.on(names.REVIVED, hear)
    await hears_all(layer, box)
    return heard


async def test_a_notice_comes_to_a_worker_that_begins_to_listen_late(
    open_box: OpenBox, layer: Lossy
) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    soon_heard, late_heard = await heard_by(layer, one), await heard_by(layer, two)
    layer.deaf.add(channel_of(TWO))
    Announcements(one).add(PID, 7.0)
    await soon(lambda: len(soon_heard) > 0)
    layer.deaf.clear()
    await soon(lambda: len(late_heard) > 0)
    assert late_heard[0] == [ONE, [(PID, 7.0)]]


async def test_a_notice_is_repeated_a_few_times_only(
    open_box: OpenBox, layer: Lossy
) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    heard = await heard_by(layer, two)
    Announcements(one).add(PID, 7.0)
    await soon(lambda: len(heard) > 0)
    await soon(lambda: not one._tasks)
    await soon(lambda: len(heard) == 1 + len(announcements.AGAIN_S))


async def test_sockets_that_are_recreated_one_after_another_are_told_of_together(
    open_box: OpenBox, layer: Lossy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcements, "GATHER_S", 0.5)
    one, two = await open_box(ONE), await open_box(TWO)
    heard, tell = await heard_by(layer, two), one.tell_everybody
    telling = Announcements(one)

    def tell_while_more_come(name: str, body: Any) -> Any:
        if not telling._waiting and not heard:
            telling.add("2", 7.0)
            for at in range(3, 7):
                loop.call_later(at * 0.01, telling.add, str(at), 7.0)
        return tell(name, body)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(one, "tell_everybody", tell_while_more_come)
    telling.add("1", 7.0)
    await soon(lambda: "6" in [pids[-1][0] for _, pids in heard])
    together = [[pid for pid, _ in pids] for _, pids in heard]
    assert ["2", "3", "4", "5", "6"] in together


@pytest.mark.parametrize("is_down", [True, False])
async def test_notices_end_with_their_worker(
    open_box: OpenBox, layer: Lossy, is_down: bool
) -> None:
    one = await open_box(ONE)
    heard = await heard_by(layer, one)
    layer.is_down = is_down
    telling = Announcements(one)
    telling.add(PID, 7.0)
    await soon(lambda: one._is_away if is_down else len(heard) > 0)

    await one.close()
    telling.add(PID, 8.0)

    await soon(lambda: not one._tasks)


async def test_of_what_waits_for_redis_the_latest_is_kept(
    open_box: OpenBox, layer: Lossy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcements, "MAX_MOVED", 3)
    one, two = await open_box(ONE), await open_box(TWO)
    heard = await heard_by(layer, two)
    layer.is_down = True
    telling = Announcements(one)
    for at in range(9):
        telling.add(str(at), 7.0)
    await soon(lambda: one._is_away)
    layer.is_down = False
    await soon(lambda: len(heard) > 0)
    assert [pid for pid, _ in heard[0][1]] == ["6", "7", "8"]


def test_of_many_sockets_that_have_moved_the_latest_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(members_module, "MAX_MOVED", 2)
    members = Members(10.0, Pids(ONE, b"x"))
    for pid, worker in [("a", ONE), ("b", ONE), ("a", TWO), ("c", ONE)]:
        members.note_moved(pid, worker, 0.0)
    assert [members.moved_to(pid) for pid in "abc"] == [TWO, None, ONE]


async def test_a_socket_that_came_home_and_ended_stays_ended() -> None:
    """The worker that had recreated it repeats its notice after that."""
    members, namespace = Members(10.0, Pids(ONE, b"x")), Slow()
    elsewhere, there = Members(10.0, Pids(TWO, b"x")), Slow()
    there.may = True
    told: list[tuple[str, float]] = []
    elsewhere.announce = lambda pid, made_at: told.append((pid, made_at))
    anew = await elsewhere.revive(there, {"pid": PID, "offset": "7"}, SHAKE, line())
    assert anew is not None
    anew.admit()
    await soon(lambda: anew.is_at_rest)
    state = anew.hand_over(ONE)
    assert state is not None
    home = members.take_over(namespace, state, SHAKE, line())
    assert home is not None
    home.detach("client namespace disconnect", recoverable=False)

    members.revived_at(PID, TWO, told[0][1])

    assert not members.moved_to(PID)


@dataclass
class Back:
    """A client that is back on the second worker; the third had recreated its socket.

    The third has an event that it lacks, and Redis is away.
    """

    client: Client
    peer: Joining
    second: Worker
    third: Worker

    def has_gone(self, worker: Worker, to: Worker) -> bool:
        """Return whether a worker knows that the socket is on the other one."""
        return worker.members.moved_to(self.client.pid) == to.box.address


@pytest.fixture
async def back(start: Start, layer: Lossy) -> Back:
    second, third = await start("second"), await start("third")
    client = Client()
    await client.begin(second)
    client.hear(second, 2)
    client.lose()
    layer.is_down = True
    assert await client.join(third)
    client.lose()
    (socket,) = third.namespace.sockets_in(client.sid)
    socket.emit("said", "what it has asked for there")
    await soon(lambda: layer.refused > 0)
    peer = client.come(second)
    assert await client.joined(peer)
    return Back(client, peer, second, third)


async def test_a_late_notice_leaves_a_socket_to_a_client_that_is_served(
    back: Back, layer: Lossy
) -> None:
    back.client.hear(back.second, 1)
    assert back.peer.line is not None
    back.peer.line.confirmed(len(back.peer.sent))

    layer.is_down = False
    await soon(lambda: back.has_gone(back.third, to=back.second))

    (socket,) = back.second.namespace.sockets
    assert socket.id == back.client.sid
    back.client.hear(back.second, 1)
    back.client.lose()
    assert await back.client.join(back.third)


async def test_a_late_notice_sends_a_client_to_what_it_has_not_received(
    back: Back, layer: Lossy
) -> None:
    layer.is_down = False
    await soon(lambda: back.has_gone(back.second, to=back.third))

    assert back.second.namespace.sockets == []
    peer = back.client.come(back.second)
    assert await back.client.joined(peer)
    await soon(lambda: len(peer.sent) > 1)


async def test_a_recreated_socket_is_the_latest_whatever_the_clocks_say() -> None:
    members, namespace = Members(10.0, Pids(TWO, b"x")), Slow()
    ahead = time.time() + 3600.0
    members.note_moved(PID, ONE, ahead)
    told: list[tuple[str, float]] = []
    members.announce = lambda pid, made_at: told.append((pid, made_at))

    made = await members.revive(namespace, {"pid": PID, "offset": "7"}, SHAKE, line())

    assert made is not None
    assert made.made_at > ahead
    assert told == [(PID, made.made_at)]
    members.dismiss(made)


async def test_what_is_outdated_on_arrival_is_fetched_again(start: Start) -> None:
    """Meanwhile a third worker has recreated it, and says so."""
    second, third = await start("second"), await start("third")
    fourth = await start("fourth")
    client = Client()
    await client.begin(second)
    client.hear(second, 2)
    client.lose()
    fetch = fourth.members.fetch

    async def fetch_slowly(namespace: Namespace, auth: dict[str, Any]) -> Any:
        fourth.members.fetch = fetch
        found = await fetch(namespace, auth)
        second.members._moved.clear()
        anew = await third.members.revive(third.namespace, auth, SHAKE, line())
        assert anew is not None
        anew.admit()
        anew.detach("transport close", recoverable=True)
        anew.socket.emit("said", "from the third")
        await soon(lambda: fourth.members.moved_to(client.pid) == third.box.address)
        return found

    fourth.members.fetch = fetch_slowly
    peer = client.come(fourth)
    assert await client.joined(peer)
    await soon(lambda: len(peer.sent) > 1)
    assert "from the third" in str(peer.sent)
