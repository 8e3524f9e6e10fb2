"""A client comes back on a connection that it gave up before it came back on another.

The worker of the old connection does not know that yet, and looks for the socket.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from llmchat.realtime import Namespace
from llmchat.realtime.member import Member
from llmchat.realtime.relay import names
from tests.workers.test_chains import Client, Start, Worker, start
from tests.workers.test_mailbox import layer, open_box
from tests.workers.test_races import SHAKE, AnyLine, Joining, soon

__all__ = ["layer", "open_box", "start"]


async def has_come(client: Client, worker: Worker) -> Joining:
    """Join on a worker, and receive two events, as the worker knows."""
    peer = client.come(worker)
    assert await client.joined(peer)
    client.hear(worker, 2)
    assert peer.line is not None
    peer.line.confirmed(len(peer.sent))
    return peer


async def left_on(worker: Worker) -> tuple[Client, Member]:
    """Return a client that is away, and what its worker has of its socket."""
    client = Client()
    await client.begin(worker)
    client.lose()
    return client, worker.members._by_pid[client.pid]


def leave(member: Member | None) -> None:
    """Let a client in that is lost again immediately."""
    assert member is not None
    member.admit()
    member.detach("transport close", recoverable=True)


@pytest.mark.parametrize("asks", ["it", "another"])
@pytest.mark.parametrize("has_moved", [False, True])
async def test_an_old_return_leaves_a_socket_where_its_client_has_it(
    start: Start, asks: str, has_moved: bool
) -> None:
    second, third = await start("second"), await start("third")
    client = Client()
    await client.begin(second)
    client.hear(second, 1)
    client.lose()
    old = {"pid": client.pid, "offset": str(client.seen)}
    has_it, peer = second, await has_come(client, second)
    if has_moved:
        client.lose()
        has_it, peer = third, client.come(third)
        assert await client.joined(peer)
    asked = has_it if asks == "it" else await start("another")

    await client.joined(came := client.come(asked, old))

    assert client.pid not in came.sent[0]
    (socket,) = has_it.namespace.sockets_in(client.sid)
    socket.emit("said", "still here")
    assert "still here" in str(peer.sent)
    assert has_it.members._by_pid[client.pid].socket is socket


async def test_a_return_with_all_that_is_known_to_have_arrived_is_no_old_one(
    start: Start,
) -> None:
    second, third = await start("second"), await start("third")
    client = Client()
    await client.begin(second)
    await has_come(client, second)  # the connection is not known to be lost
    assert await client.join(third)


async def test_a_socket_that_is_replaced_while_its_client_is_judged_is_not_what_it_gets(
    start: Start,
) -> None:
    """A session brings a later one."""
    second, third = await start("second"), await start("third")
    client, later = await left_on(third)
    later.made_at = time.time() + 3600.0
    auth: dict[str, Any] = {"pid": client.pid}
    left = await second.members.revive(second.namespace, auth, SHAKE, AnyLine())
    leave(left)
    await soon(lambda: later.is_at_rest)

    async def judge(socket: Any, auth: dict[str, Any]) -> bool:
        del second.namespace.on_recover  # type: ignore[method-assign]
        state = later.hand_over(second.box.address)
        assert state is not None
        brought = second.members.take_over(second.namespace, state, SHAKE, AnyLine())
        leave(brought)
        return True

    second.namespace.on_recover = judge  # type: ignore[method-assign]
    claimed = await second.members.claim(second.namespace, auth)
    assert claimed is not None
    assert claimed is not left
    assert claimed is second.members._by_pid[client.pid]


async def test_a_socket_that_is_replaced_while_it_is_at_work_is_asked_for_again(
    start: Start,
) -> None:
    second, third = await start("second"), await start("third")
    client, left = await left_on(second)
    second.namespace.may = False
    coming = client.come(third)
    await soon(lambda: bool(second.box._working))
    await soon(lambda: left._expiry is None)

    # Its session leaves, and is back before the next look.
    state = left.hand_over(third.box.address)
    assert state is not None
    later = second.members.take_over(second.namespace, state, SHAKE, AnyLine())
    leave(later)
    second.namespace.may = True

    assert await client.joined(coming)
    assert third.namespace.find(client.sid) is not None


async def test_a_socket_that_is_replaced_while_it_is_at_work_does_not_move(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of it may come to rest before it has been given up."""
    monkeypatch.setattr(Member, "let_go", lambda self, worker: None)
    second, third = await start("second"), await start("third")
    client, left = await left_on(second)
    second.namespace.may = False
    coming = client.come(third)
    await soon(lambda: bool(second.box._working) and left._expiry is None)
    fourth = await start("fourth")
    auth: dict[str, Any] = {"pid": client.pid}
    made = await fourth.members.revive(fourth.namespace, auth, SHAKE, AnyLine())
    assert made is not None
    state = made.hand_over(second.box.address)
    later = second.members.take_over(second.namespace, state, SHAKE, AnyLine())
    leave(later)
    second.namespace.may = True

    assert await client.joined(coming)
    assert third.members._by_pid[client.pid].made_at == made.made_at


async def test_a_worker_that_stops_while_it_is_asked_has_no_socket(
    start: Start,
) -> None:
    """Its client gets the socket anew, and not a new one."""
    second, third = await start("second"), await start("third")
    client, _ = await left_on(second)

    async def judge(socket: Any, auth: dict[str, Any]) -> bool:
        second.members.shutdown()
        return True

    second.namespace.on_recover = judge  # type: ignore[method-assign]
    assert await client.join(third)


async def test_a_socket_whose_worker_is_gone_is_sought_where_it_was_recreated(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notice arrives while the worker that is gone is asked."""
    second, third = await start("second"), await start("third")
    client = Client()
    ask = third.box.ask
    anew = asyncio.Event()

    def ask_slowly(address: str, name: str, body: Any = None) -> Any:
        asked = ask(address, name, body)
        anew.set()
        return asked

    monkeypatch.setattr(third.box, "ask", ask_slowly)
    coming = client.come(third)
    await asyncio.wait_for(anew.wait(), 20)
    auth: dict[str, Any] = {"pid": client.pid, "offset": str(client.seen)}
    made = await second.members.revive(second.namespace, auth, SHAKE, AnyLine())
    leave(made)
    assert made is not None
    made.socket.emit("said", "from the second")

    assert await client.joined(coming)
    await soon(lambda: "from the second" in str(coming.sent))


async def test_a_socket_that_is_outdated_twice_is_recreated(start: Start) -> None:
    second, third = await start("second"), await start("third")
    client = Client()
    await client.begin(second)
    client.hear(second, 2)
    client.lose()
    left = second.members._by_pid[client.pid]
    await soon(lambda: left.is_at_rest)
    state = left.hand_over(third.box.address)
    assert state is not None
    fetched: list[str] = []

    async def fetch(namespace: Namespace, auth: dict[str, Any]) -> Any:
        fetched.append(auth["pid"])
        third.members.note_moved(client.pid, second.box.address, 7.0)
        return state

    third.members.fetch = fetch
    assert await client.join(third)
    assert fetched == [client.pid] * 2
    assert third.members._by_pid[client.pid].made_at > 7.0


async def test_a_recreated_socket_is_registered_though_what_was_left_of_it_ends(
    start: Start,
) -> None:
    second = await start("second")
    client, left = await left_on(second)
    await soon(lambda: left.is_at_rest)
    auth: dict[str, Any] = {"pid": client.pid, "offset": "9"}

    async def judge(socket: Any, marks: Any) -> bool:
        second.namespace.register(left.socket)
        return True

    second.namespace.on_revive = judge  # type: ignore[method-assign]
    anew = await second.members.revive(second.namespace, auth, SHAKE, AnyLine())
    assert anew is not None
    await soon(lambda: left.outlet.replay is None)
    assert second.namespace.find(client.sid) is anew.socket
    second.members.dismiss(anew)


async def test_workers_name_those_that_led_them_to_another(start: Start) -> None:
    first, second, third = [await start(name) for name in ("1", "2", "3")]
    client, left = await left_on(first)
    first.members.dismiss(left)
    first.members.note_moved(client.pid, second.box.address, 0.0)
    led: list[list[str]] = []

    async def claim(sender: str, body: Any) -> Any:
        led.append(body[2])
        return None

    second.box.on(names.CLAIM, claim)
    for worker in (third, first):
        auth = {"pid": client.pid}
        await asyncio.wait_for(worker.members.fetch(worker.namespace, auth), 20)
    assert led == [[first.box.address]] * 2
