"""A worker that stops gives the sockets of clients that are away to another worker."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest

from llmchat.realtime import Handshake
from llmchat.realtime.relay import names, parting
from llmchat.realtime.relay.parting import Parting
from tests.workers.test_chains import Client, Start, Worker, start
from tests.workers.test_mailbox import layer, open_box

__all__ = ["layer", "open_box", "start"]


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


async def away(start: Start, count: int = 3) -> tuple[Stopping, list[Client]]:
    """Return a worker, and clients of it that are away and have missed two events."""
    first = await start("first")
    clients = [Client(f"{at}") for at in range(count)]
    for client in clients:
        await client.begin(first)
        client.hear(first, 2)
        client.lose()
        (socket,) = first.namespace.sockets_in(client.sid)
        socket.emit("said", "while away")
        socket.emit("said", "once more")
    return Stopping(first, parting_of(first)), clients


async def come_back(clients: list[Client], worker: Worker) -> None:
    """Let the clients return; assert that each gets its socket and what it missed."""
    joined = await asyncio.gather(*(client.join(worker) for client in clients))
    for client in clients:
        client.take()
    assert all(joined)
    assert [client.heard for client in clients] == [4] * len(clients)


@pytest.mark.parametrize("is_gone", [False, True], ids=["stopping", "gone"])
async def test_a_client_gets_what_it_missed_from_the_worker_that_keeps_it(
    start: Start, is_gone: bool
) -> None:
    stopping, clients = await away(start)
    second, third = await start("second"), await start("third")
    parting_of(second)
    await stopping.stop(second)
    if is_gone:
        # The third has to know by then which worker keeps the sockets.
        async with asyncio.timeout(20):
            while any(third.members.moved_to(one.pid) is None for one in clients):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await stopping.worker.kill()
    await come_back(clients, third)
    assert not second.members.absent()


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


async def test_a_worker_of_an_earlier_version_keeps_nothing(start: Start) -> None:
    stopping, clients = await away(start)
    second = await start("second")  # it does not know the ask
    await stopping.stop(second)
    await stopping.worker.kill()
    # The sockets are recreated, as after a crash.
    assert all(await asyncio.gather(*(client.join(second) for client in clients)))


async def test_a_socket_that_comes_too_late_is_not_kept(start: Start) -> None:
    stopping, (client,) = await away(start, 1)
    second = await start("second")
    keeper = parting_of(second)
    state = stopping.parting._state_of(member_of(stopping, client), second.box.address)
    assert state
    await stopping.worker.kill()
    assert await client.join(second)  # recreated
    body = ["/", Handshake().fields(), json.loads(json.dumps(state))]
    assert not await keeper._keep("", body)
    assert not second.members.absent()


async def test_one_that_stops_itself_keeps_nothing(start: Start) -> None:
    stopping, (client,) = await away(start, 1)
    second = await start("second")
    parting_of(second)
    second.members.shutdown()
    await stopping.stop(second)
    assert not second.members.absent()
    assert client.pid not in second.members._by_pid


async def test_a_socket_at_work_does_not_hold_up_the_others(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping, clients = await away(start)
    second = await start("second")
    parting_of(second)
    busy = member_of(stopping, clients[0])
    busy.socket.spawn(asyncio.Event().wait())
    monkeypatch.setattr(parting, "PARTING_S", 0.5)
    began = asyncio.get_running_loop().time()
    await stopping.stop(second)
    assert asyncio.get_running_loop().time() - began < parting.PARTING_S + 5
    await stopping.worker.kill()
    await come_back(clients[1:], second)
    assert await clients[0].join(second)  # recreated


async def test_a_worker_that_does_not_answer_is_not_waited_for(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping, clients = await away(start)
    second = await start("second")

    async def never(sender: str, body: Any) -> None:
        await asyncio.Event().wait()

    second.box.on(names.KEEP, never)
    monkeypatch.setattr(parting, "PARTING_S", 0.2)
    async with asyncio.timeout(20):
        await stopping.stop(second)
    await stopping.worker.kill()
    assert all(await asyncio.gather(*(client.join(second) for client in clients)))


def member_of(stopping: Stopping, client: Client) -> Any:
    return stopping.worker.members._by_pid[client.pid]
