"""A client whose workers are killed one after another keeps its socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from llmchat.realtime import Namespace
from llmchat.realtime.engineio.events import CloseReason
from llmchat.realtime.line import SocketIOLine
from llmchat.realtime.members import Members
from llmchat.realtime.pids import Pids
from llmchat.realtime.relay import names
from llmchat.realtime.relay.claims import Claims
from llmchat.realtime.rest import REST_S
from llmchat.realtime.socketio.connection import Limits
from llmchat.workers import Mailbox, address_of
from tests.workers.test_mailbox import Lossy, OpenBox, hears_all, layer, open_box
from tests.workers.test_races import Joining, Slow, soon

__all__ = ["layer", "open_box"]
FIRST = address_of("first")
LIMIT_S = 20.0


@dataclass
class Worker:
    """A worker without a server: sockets reach it through `Client.join`."""

    box: Mailbox
    members: Members
    namespace: Slow

    async def kill(self) -> None:
        """End it silently: it announces nothing that it has to, and answers no ask."""
        await self.box.close()


Start = Callable[[str], Awaitable[Worker]]


@pytest.fixture
async def start(open_box: OpenBox, layer: Lossy) -> AsyncIterator[Start]:
    started: list[Worker] = []

    async def start_one(name: str) -> Worker:
        box = await open_box(address_of(name))
        await hears_all(layer, box)
        members, namespace = Members(60.0, Pids(box.address, b"x")), Slow()
        namespace.may = True
        Claims(box, members, {"/": namespace})
        started.append(Worker(box, members, namespace))
        return started[-1]

    yield start_one
    for worker in started:
        worker.members.shutdown()


class Client:
    """A client whose first worker is gone; it has the events up to `seen`."""

    def __init__(self, name: str = "s") -> None:
        self.sid = name.ljust(20, "s")
        self.pid = Pids(FIRST, b"x").make("/", self.sid, "")
        self.seen, self.heard = 7, 0
        self._line: SocketIOLine | None = None
        self._peer = Joining()
        self._at = 0

    async def begin(self, worker: Worker) -> None:
        """Join on a worker for the first time."""
        peer = self.come(worker, {})
        await self.joined(peer)
        answer = json.loads(peer.sent[0][1:])
        self.sid, self.pid, self.seen = answer["sid"], answer["pid"], 0

    async def join(self, worker: Worker) -> bool:
        """Join on a worker; return whether the client got the socket that it had."""
        return await self.joined(self.come(worker))

    def come(self, worker: Worker, auth: dict[str, str] | None = None) -> Joining:
        """Ask a worker for the socket; leave the former connection as it is."""
        peer = Joining()
        namespaces: dict[str, Namespace] = {"/": worker.namespace}
        peer.line = SocketIOLine(peer, namespaces, worker.members, Limits())  # type: ignore[arg-type]
        if auth is None:
            auth = {"pid": self.pid, "offset": str(self.seen)}
        peer.line.receive(f"0{json.dumps(auth)}")
        return peer

    async def joined(self, peer: Joining) -> bool:
        """Wait for the answer; from now on, this is the client's connection."""
        async with asyncio.timeout(LIMIT_S):
            while not peer.sent:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        answer = json.loads(peer.sent[0][1:])
        self._peer, self._line, self._at = peer, peer.line, 1
        return bool(answer == {"sid": self.sid, "pid": self.pid})

    def hear(self, worker: Worker, count: int) -> None:
        """Have the socket send this number of events."""
        (socket,) = worker.namespace.sockets_in(self.sid)
        for _ in range(count):
            socket.emit("said", "something")
        self.take()

    def take(self) -> None:
        """Note the offset of the last event that has arrived."""
        for packet in self._peer.sent[self._at :]:
            self.seen = int(json.loads(packet[1:])[-1].partition(".")[0])
            self.heard += 1
        self._at = len(self._peer.sent)

    def lose(self) -> None:
        """Lose the connection; its worker notices."""
        if self._line is not None:
            self._line.closed(CloseReason.TRANSPORT_CLOSE)
            self._line = None


@pytest.mark.parametrize("lived_s", [0.0, 0.03, 0.2])
async def test_a_socket_survives_a_second_worker_whenever_that_dies(
    start: Start, lived_s: float
) -> None:
    second, third = await start("second"), await start("third")
    clients = [Client(f"{at}") for at in range(5)]
    assert all(await asyncio.gather(*(one.join(second) for one in clients)))
    for client in clients[:3]:
        client.hear(second, 4)
    await asyncio.sleep(lived_s)
    await second.kill()
    assert all(await asyncio.gather(*(one.join(third) for one in clients)))
    assert sorted(client.heard for client in clients) == [0, 0, 4, 4, 4]


async def test_a_socket_survives_worker_after_worker(start: Start) -> None:
    client, worker = Client(), await start("0")
    assert await client.join(worker)
    for name in ("1", "2", "3"):
        moved_to = await start(name)
        client.hear(worker, 2)
        client.lose()
        assert await client.join(moved_to)
        client.hear(moved_to, 2)
        await moved_to.kill()
        # It returns to the worker that it had left.
        client.lose()
        assert await client.join(worker)
    assert client.heard == 12


async def hear_nothing(sender: str, body: Any) -> None:
    """Ignore a notice."""


async def test_what_is_left_of_a_socket_does_not_bar_it(start: Start) -> None:
    second, third = await start("second"), await start("third")
    third.box.on(names.REVIVED, hear_nothing)
    client = Client()
    assert await client.join(second)
    client.lose()
    second.namespace.may = False  # what is left is at work for a long time
    elsewhere = client.come(third)
    assert await client.joined(elsewhere)
    await soon(lambda: second.members.moved_to(client.pid) == third.box.address)
    client.hear(third, 3)
    await third.kill()
    assert await client.join(second)


@pytest.mark.parametrize("asks", ["it", "another"])
async def test_a_socket_that_a_client_had_left_is_replaced(
    start: Start, asks: str
) -> None:
    second, third = await start("second"), await start("third")
    fourth = await start("fourth")
    client = Client()
    assert await client.join(second)
    client.lose()
    await soon(lambda: fourth.members.moved_to(client.pid) is not None)
    # The third recreates it, but dies before it has notified any other.
    third.members._moved.clear()
    third.box._silent[second.box.address] = third.box._loop.time()
    assert await client.join(third)
    client.hear(third, 3)
    await third.kill()
    assert await client.join(second if asks == "it" else fourth)


async def test_a_socket_that_is_at_work_for_long_is_waited_for(start: Start) -> None:
    second, third = await start("second"), await start("third")
    client = Client()
    assert await client.join(second)
    client.lose()
    await soon(lambda: third.members.moved_to(client.pid) is not None)
    second.namespace.may = False
    asyncio.get_running_loop().call_later(
        REST_S + 1.0, setattr, second.namespace, "may", True
    )
    assert await client.join(third)
    assert second.namespace.find(client.sid) is None


async def test_a_client_that_asks_twice_finds_its_socket_by_the_first(
    start: Start,
) -> None:
    workers = [await start(name) for name in ("second", "third", "fourth")]
    client = Client()
    assert await client.join(workers[0])
    client.lose()
    for worker in workers[1:]:
        await soon(
            lambda worker=worker: worker.members.moved_to(client.pid) is not None  # type: ignore[misc]
        )
    workers[0].namespace.may = False
    given_up = client.come(workers[1])
    await asyncio.sleep(0.2)
    assert given_up.line is not None
    given_up.line.closed(CloseReason.TRANSPORT_CLOSE)
    again = client.come(workers[2])
    await asyncio.sleep(0.2)
    workers[0].namespace.may = True
    assert await client.joined(again)


async def test_a_socket_does_not_wait_for_work_that_moves(start: Start) -> None:
    second, third = await start("second"), await start("third")
    client = Client()
    assert await client.join(second)
    (socket,) = second.namespace.sockets_in(client.sid)
    work = socket.spawn(asyncio.Event().wait(), moves=True)
    assert not socket.is_busy
    client.lose()
    await soon(lambda: third.members.moved_to(client.pid) is not None)
    assert await client.join(third)
    assert work.cancelled()
    assert second.members.moved_to(client.pid) == third.box.address


async def test_a_socket_is_made_anew_while_its_worker_cannot_be_asked(
    start: Start, layer: Lossy
) -> None:
    second, third = await start("second"), await start("third")
    client = Client()
    assert await client.join(second)
    client.lose()
    await soon(lambda: third.members.moved_to(client.pid) is not None)
    layer.is_down = True
    assert await client.join(third)
    client.hear(third, 3)
    client.lose()
    layer.is_down = False
    # The second was not notified. What it has left of the socket is older.
    second.members._moved.clear()
    assert await client.join(second)


@pytest.mark.parametrize("asks", ["the one", "the other", "another"])
async def test_a_socket_that_was_lost_on_the_way_is_made_anew(
    start: Start, asks: str
) -> None:
    """Both workers are alive, but considered each other gone for a while."""
    second, third = await start("second"), await start("third")
    client = Client()
    await client.begin(second)
    client.lose()
    left = second.members._by_pid[client.pid]
    await soon(lambda: left.is_at_rest)
    left.hand_over(third.box.address)
    workers = {"the one": second, "the other": third, "another": await start("4")}
    assert await client.join(workers[asks])


async def test_a_socket_that_its_client_has_left_elsewhere_is_not_made_anew(
    start: Start,
) -> None:
    second, third = await start("second"), await start("third")
    client = Client()
    await client.begin(second)
    client.lose()
    peer = client.come(third)
    assert await client.joined(peer)
    assert peer.line is not None
    peer.line.receive("1")
    for worker in (second, third, await start("fourth")):
        assert not await client.join(worker)


@dataclass
class LeftElsewhere:
    """A client whose socket is on the second worker, with an event that it lacks.

    The first worker issued its `pid`, so the third asks the first where the socket is.
    """

    client: Client
    workers: list[Worker]

    async def comes_in_vain(self) -> None:
        """Join on the first worker, which asks the second; do not wait for that."""
        given_up = self.client.come(self.workers[0])
        await asyncio.sleep(0.2)
        assert given_up.line is not None
        given_up.line.closed(CloseReason.TRANSPORT_CLOSE)

    async def has_it_all_on_the_third(self) -> bool:
        """Join on the third; return whether the client has its socket and events."""
        peer = self.client.come(self.workers[2])
        if not await self.client.joined(peer):
            return False
        await soon(lambda: len(peer.sent) > 1)
        self.client.take()
        return self.client.heard == 3


@pytest.fixture
async def left(start: Start) -> LeftElsewhere:
    client, workers = Client(), [await start(name) for name in ("1", "2", "3")]
    await client.begin(workers[0])
    client.hear(workers[0], 2)
    client.lose()
    assert await client.join(workers[1])
    client.lose()
    (socket,) = workers[1].namespace.sockets_in(client.sid)
    socket.emit("said", "while it is away")
    return LeftElsewhere(client, workers)


async def test_a_socket_that_is_on_its_way_is_not_taken_for_lost(
    left: LeftElsewhere,
) -> None:
    first, second, third = left.workers
    arrives, fetch = asyncio.Event(), first.members.fetch

    async def fetch_slowly(namespace: Namespace, auth: dict[str, Any]) -> Any:
        found = await fetch(namespace, auth)
        await arrives.wait()
        return found

    first.members.fetch = fetch_slowly
    await left.comes_in_vain()
    address, pid = first.box.address, left.client.pid
    await soon(lambda: second.members.moved_to(pid) == address)
    having = asyncio.create_task(left.has_it_all_on_the_third())
    # The first has been asked, and waits.
    asking = third.box.address
    await soon(lambda: asking in {sender for sender, _ in first.box._working})
    arrives.set()
    assert await having


async def test_a_socket_that_goes_where_was_asked_before_is_found_there(
    left: LeftElsewhere,
) -> None:
    """The socket is at work for longer than the first worker lets the third wait."""
    second = left.workers[1]
    second.namespace.may = False
    await left.comes_in_vain()
    asyncio.get_running_loop().call_later(
        REST_S + 1.0, setattr, second.namespace, "may", True
    )
    assert await left.has_it_all_on_the_third()
