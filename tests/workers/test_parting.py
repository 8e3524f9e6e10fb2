"""A worker that stops gives the sockets of clients that are away to another worker."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from llmchat.realtime import ConnectionRefused
from llmchat.realtime.engineio.events import CloseReason
from llmchat.realtime.relay import names, parting
from llmchat.realtime.relay.claims import CLAIM_S
from llmchat.realtime.relay.parting import Parting
from llmchat.workers.address import channel_of
from tests.workers.test_chains import Client, Start, Worker, start
from tests.workers.test_mailbox import Lossy, layer, open_box
from tests.workers.test_races import soon

__all__ = ["layer", "open_box", "start"]
LIMIT_S = 20.0


@dataclass
class Stopping:
    """A worker that stops."""

    worker: Worker
    parting: Parting

    async def stop(self, other: Worker) -> None:
        await self.parting.hand_over(other.box.address)
        self.worker.members.shutdown()


def parting_of(worker: Worker) -> Parting:
    return Parting(worker.box, worker.members, {"/": worker.namespace})


async def away(
    start: Start, count: int = 3, missed: str = "while away"
) -> tuple[Stopping, list[Client]]:
    """Return a worker, and clients of it that are away and have missed two events."""
    first = await start("first")
    clients = [Client(f"{at}") for at in range(count)]
    for client in clients:
        await client.begin(first)
        client.hear(first, 2)
        client.lose()
        emit(first, client, missed)
        emit(first, client, "once more")
    return Stopping(first, parting_of(first)), clients


def emit(worker: Worker, client: Client, text: str) -> None:
    (socket,) = worker.namespace.sockets_in(client.sid)
    socket.emit("said", text)


async def come_back(clients: list[Client], worker: Worker) -> None:
    """Let the clients return; assert that each gets its socket and what it missed."""
    joined = await asyncio.gather(*(client.join(worker) for client in clients))
    for client in clients:
        client.take()
    assert all(joined)
    assert [client.heard for client in clients] == [4] * len(clients)


async def recreated(clients: list[Client], worker: Worker) -> bool:
    """Let the clients return; return whether each gets its socket."""
    return all(await asyncio.gather(*(client.join(worker) for client in clients)))


def member_of(worker: Worker, client: Client) -> Any:
    return worker.members._by_pid[client.pid]


def keep_busy(worker: Worker, client: Client) -> None:
    member_of(worker, client).socket.spawn(asyncio.Event().wait())


@pytest.mark.parametrize("is_gone", [False, True], ids=["stopping", "gone"])
async def test_a_client_gets_what_it_missed_from_the_worker_that_keeps_it(
    start: Start, is_gone: bool
) -> None:
    stopping, clients = await away(start)
    second, third = await start("second"), await start("third")
    parting_of(second)
    await stopping.stop(second)
    if is_gone:
        await soon(partial(_are_known, third, clients))
        await stopping.worker.kill()
    await come_back(clients, third)
    assert not second.members.waiting()


async def test_a_client_may_come_to_the_very_worker_that_keeps_it(start: Start) -> None:
    stopping, clients = await away(start)
    second = await start("second")
    parting_of(second)
    await stopping.stop(second)
    await stopping.worker.kill()
    await come_back(clients, second)


async def test_the_worker_that_keeps_them_may_stop_as_well(start: Start) -> None:
    stopping, clients = await away(start)
    second, third = await start("second"), await start("third")
    next_one = Stopping(second, parting_of(second))
    parting_of(third)
    await stopping.stop(second)
    await stopping.worker.kill()
    await next_one.stop(third)
    await come_back(clients, third)


async def test_the_worker_that_keeps_them_may_be_stopping_already(start: Start) -> None:
    stopping, clients = await away(start)
    second, third = await start("second"), await start("third")
    busy = Client("busy")
    await busy.begin(second)
    busy.lose()
    keep_busy(second, busy)
    next_one = Stopping(second, parting_of(second))
    parting_of(third)
    going = asyncio.create_task(next_one.stop(third))
    await asyncio.sleep(0)
    await stopping.stop(second)
    await stopping.worker.kill()
    await going
    await come_back(clients, third)


@pytest.mark.parametrize("to", ["keeper", "third"])
async def test_a_client_that_comes_while_its_socket_is_on_its_way_misses_nothing(
    start: Start, layer: Lossy, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping, clients = await away(start, 1)
    second, third = await start("second"), await start("third")
    parting_of(second)
    send, lost = layer.send, []

    async def lossy(channel: str, message: dict[str, Any]) -> None:
        is_to_second = channel == channel_of(second.box.address)
        if is_to_second and b"socket.keep" in message.get("data", b"") and not lost:
            lost.append(message)  # it is sent again soon
        else:
            await send(channel, message)

    monkeypatch.setattr(layer, "send", lossy)
    going = asyncio.create_task(stopping.stop(second))
    await soon(lambda: bool(lost))
    await come_back(clients, second if to == "keeper" else third)
    await going


async def test_large_sockets_take_their_time(start: Start, layer: Lossy) -> None:
    stopping, clients = await away(start, 20, "x" * 500_000)
    second, third = await start("second"), await start("third")
    parting_of(second)
    layer.delay_s = 0.003
    going = asyncio.create_task(stopping.parting.hand_over(second.box.address))
    members = stopping.worker.members
    await soon(lambda: len(members.waiting()) < len(clients))
    # Not all at once: Redis would drop the worker that keeps them.
    assert len(members.waiting()) > len(clients) / 2
    await come_back(clients, third)
    await going


async def test_those_that_would_lose_something_go_first(start: Start) -> None:
    stopping, losing = await away(start)
    first, second = stopping.worker, await start("second")
    for at in range(200):
        idle = Client(f"idle{at}")
        await idle.begin(first)
        idle.lose()
    order: list[str] = []

    async def keep(sender: str, body: Any) -> bool:
        order.append(body[2]["pid"])
        return True

    second.box.on(names.KEEP, keep)
    members = first.members
    # The oldest would otherwise be the first.
    members._by_pid = dict(reversed(members._by_pid.items()))
    await stopping.stop(second)
    assert set(order[: len(losing)]) == {client.pid for client in losing}
    assert len(order) == 203


@pytest.mark.parametrize("to", ["keeper", "third"])
async def test_a_client_may_come_by_its_former_pid(start: Start, to: str) -> None:
    stopping, clients = await away(start, 1)
    (client,) = clients
    second, third = await start("second"), await start("third")
    parting_of(second)
    stopping.worker.members.grant(member_of(stopping.worker, client))
    await stopping.stop(second)
    if to == "third":
        await soon(lambda: third.members.moved_to(client.pid) is not None)
    await stopping.worker.kill()
    await client.join(second if to == "keeper" else third)
    client.take()
    assert client.heard == 4


async def test_a_socket_that_was_recreated_may_move_on(start: Start) -> None:
    # None of them is the worker that its client had first.
    first, second, third = [await start(name) for name in ("one", "two", "three")]
    client = Client()
    assert await client.join(first)
    client.hear(first, 2)
    client.lose()
    emit(first, client, "while away")
    emit(first, client, "once more")
    parting_of(second)
    await Stopping(first, parting_of(first)).stop(second)
    moved_to = third.members.moved_to
    await soon(lambda: moved_to(client.pid) == second.box.address)
    await first.kill()
    await come_back([client], third)


async def test_a_socket_whose_client_is_elsewhere_stays_there(start: Start) -> None:
    """While Redis was away, the client's socket was recreated."""
    stopping, (client,) = await away(start, 1)
    second, third = await start("second"), await start("third")
    parting_of(second)

    async def ignore(sender: str, body: Any) -> None:
        """The notices are on their way."""

    stopping.worker.box.on(names.REVIVED, ignore)
    second.box.on(names.REVIVED, ignore)
    third.box._silent[stopping.worker.box.address] = asyncio.get_running_loop().time()
    assert await client.join(third)
    client.hear(third, 3)
    live = member_of(third, client)
    told = asyncio.Event()
    revived_at = third.members.revived_at

    def note(pid: str, worker: str, made_at: float) -> Any:
        told.set()
        return revived_at(pid, worker, made_at)

    third.members.revived_at = note  # type: ignore[method-assign]
    await stopping.stop(second)
    async with asyncio.timeout(LIMIT_S):
        await told.wait()
    assert third.members._by_pid.get(client.pid) is live
    assert live.socket.connected


async def test_a_worker_of_an_earlier_version_keeps_nothing(start: Start) -> None:
    stopping, clients = await away(start)
    second = await start("second")  # it does not know the ask
    await stopping.stop(second)
    await stopping.worker.kill()
    assert await recreated(clients, second)


async def test_one_that_stops_itself_keeps_nothing(start: Start) -> None:
    stopping, (client,) = await away(start, 1)
    second = await start("second")
    parting_of(second)
    second.members.shutdown()
    await stopping.stop(second)
    assert client.pid not in second.members._by_pid


async def kept(stopping: Stopping, second: Worker) -> Any:
    """Return what the second worker is asked to keep, before it is kept."""
    asked: list[Any] = []

    async def keep(sender: str, body: Any) -> bool:
        asked.append(body)
        return True

    second.box.on(names.KEEP, keep)
    await stopping.stop(second)
    return json.loads(json.dumps(asked[0]))


async def test_a_socket_that_comes_too_late_is_not_kept(start: Start) -> None:
    stopping, (client,) = await away(start, 1)
    second = await start("second")
    body = await kept(stopping, second)
    await stopping.worker.kill()
    assert await client.join(second)  # recreated
    live = member_of(second, client)
    assert not await parting_of(second)._keep("", body)
    assert member_of(second, client) is live


async def test_a_socket_that_comes_twice_is_kept_once(start: Start) -> None:
    stopping, clients = await away(start, 1)
    second = await start("second")
    body = await kept(stopping, second)
    await stopping.worker.kill()
    keeper = parting_of(second)
    assert await keeper._keep("", json.loads(json.dumps(body)))
    await come_back(clients, second)
    live = member_of(second, clients[0])
    assert not await keeper._keep("", body)
    assert live.socket.connected


@pytest.mark.parametrize(
    "error", [KeyError("of another version"), ConnectionRefused("full")]
)
async def test_a_socket_that_the_application_does_not_take_is_recreated(
    start: Start, error: Exception
) -> None:
    stopping, (client,) = await away(start, 1)
    second, third = await start("second"), await start("third")
    parting_of(second)

    def move_in(socket: Any, state: Any) -> None:
        raise error

    second.namespace.move_in = move_in  # type: ignore[method-assign]
    await stopping.stop(second)
    assert not second.members.waiting()
    await stopping.worker.kill()
    assert await client.join(third)


async def test_one_that_has_issued_the_pid_does_not_believe_it_has_the_socket(
    start: Start,
) -> None:
    second, first, third = [await start(name) for name in ("two", "one", "three")]
    client = Client()
    await client.begin(second)
    client.lose()
    assert await client.join(first)
    client.lose()
    parting_of(second)

    def move_in(socket: Any, state: Any) -> None:
        raise ConnectionRefused("full")

    second.namespace.move_in = move_in  # type: ignore[method-assign]
    await Stopping(first, parting_of(first)).stop(second)
    await first.kill()
    assert await client.join(third)


@dataclass
class Fetching:
    """A client that was lost while its socket, which is at work, was fetched."""

    client: Client
    first: Worker
    stopping: Stopping
    done: asyncio.Event

    @classmethod
    async def begin(cls, start: Start) -> Fetching:
        left, (client,) = await away(start, 1)
        done = asyncio.Event()
        member_of(left.worker, client).socket.spawn(done.wait())
        second = await start("second")
        come = client.come(second)
        await soon(lambda: second.members.is_fetching)
        assert come.line is not None
        come.line.closed(CloseReason.SERVER_SHUTTING_DOWN)
        return cls(client, left.worker, Stopping(second, parting_of(second)), done)


async def test_a_socket_that_is_fetched_by_one_that_stops_is_handed_on(
    start: Start,
) -> None:
    fetching, third = await Fetching.begin(start), await start("third")
    parting_of(third)
    stopped = asyncio.create_task(fetching.stopping.stop(third))
    await asyncio.sleep(0.1)
    assert not stopped.done()
    fetching.done.set()
    await stopped
    await fetching.first.kill()
    await fetching.stopping.worker.kill()
    await come_back([fetching.client], third)


async def test_a_socket_that_is_fetched_for_too_long_stays_where_it_is(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetching, third = await Fetching.begin(start), await start("third")
    monkeypatch.setattr(parting, "PARTING_S", 0.1)
    await fetching.stopping.stop(third)
    async with asyncio.timeout(CLAIM_S / 2):
        await soon(lambda: not fetching.stopping.worker.members.is_fetching)
        await soon(lambda: not fetching.first.box._working)
    fetching.done.set()
    await come_back([fetching.client], third)


@pytest.mark.parametrize("how", ["fails", "returns what cannot be sent"])
async def test_a_socket_that_cannot_be_handed_over_is_in_nobodys_way(
    start: Start, how: str
) -> None:
    stopping, clients = await away(start)
    second = await start("second")
    parting_of(second)
    bad = member_of(stopping.worker, clients[0]).socket

    def move_out(socket: Any, worker: str) -> Any:
        if socket is bad and how == "fails":
            raise KeyError
        return "\ud800" if socket is bad else None

    stopping.worker.namespace.move_out = move_out  # type: ignore[method-assign]
    await stopping.stop(second)
    await stopping.worker.kill()
    await come_back(clients[1:], second)


async def test_sockets_at_work_are_in_nobodys_way(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping, clients = await away(start, 30)
    second = await start("second")
    parting_of(second)
    busy, others = clients[:25], clients[25:]
    for client in busy:
        keep_busy(stopping.worker, client)
    monkeypatch.setattr(parting, "PARTING_S", 1.0)
    async with asyncio.timeout(LIMIT_S):
        await stopping.stop(second)
    await stopping.worker.kill()
    await come_back(others, second)
    assert await recreated(busy, second)


async def test_a_worker_that_does_not_answer_is_not_waited_for(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping, clients = await away(start)
    second = await start("second")

    async def never(sender: str, body: Any) -> None:
        await asyncio.Event().wait()

    second.box.on(names.KEEP, never)
    monkeypatch.setattr(parting, "PARTING_S", 0.2)
    async with asyncio.timeout(LIMIT_S):
        await stopping.stop(second)
    await stopping.worker.kill()
    assert await recreated(clients, second)


async def test_a_socket_exists_once_if_time_is_up_while_it_is_kept(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping, clients = await away(start)
    second, third = await start("second"), await start("third")
    keep, release = parting_of(second)._keep, asyncio.Event()
    asked: list[asyncio.Task[bool]] = []

    async def later(sender: str, body: Any) -> bool:
        await release.wait()
        return await keep(sender, body)

    async def slow(sender: str, body: Any) -> bool:
        asked.append(asyncio.create_task(later(sender, body)))
        return await asyncio.shield(asked[-1])

    second.box.on(names.KEEP, slow)
    monkeypatch.setattr(parting, "PARTING_S", 0.2)
    await stopping.stop(second)
    release.set()
    assert all(await asyncio.gather(*asked))
    await soon(partial(_are_known, third, clients))
    await stopping.worker.kill()
    await come_back(clients, third)
    assert not second.members.waiting()


def _are_known(worker: Worker, clients: list[Client]) -> bool:
    return all(worker.members.moved_to(client.pid) for client in clients)


async def test_a_stop_does_not_wait_for_redis(start: Start, layer: Lossy) -> None:
    stopping, clients = await away(start)
    second = await start("second")
    parting_of(second)
    layer.is_down = True
    async with asyncio.timeout(LIMIT_S):
        await stopping.stop(second)
    layer.is_down = False
    await stopping.worker.kill()
    assert await recreated(clients, second)


async def test_only_its_user_gets_a_socket_from_the_worker_that_keeps_it(
    start: Start,
) -> None:
    stopping, (client,) = await away(start, 1)
    second, third = await start("second"), await start("third")
    parting_of(second)
    await stopping.stop(second)
    await stopping.worker.kill()

    async def refuse(socket: Any, auth: Any) -> bool:
        return False

    second.namespace.on_recover = refuse  # type: ignore[method-assign]
    assert not await client.join(second)
    assert not await client.join(third)
