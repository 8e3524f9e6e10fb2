"""A socket that is recreated because its worker is gone: what it emits, and when."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from llmchat.realtime import Namespace, Options, Server, SocketIO, SocketIOOptions
from llmchat.realtime.offsets import MAX_MARKS
from llmchat.realtime.sockets import Socket
from llmchat.workers import address_of
from tests.support.peers import joined, joined_again, turns
from tests.support.wire import content_of


class Greeting(Namespace):
    """A namespace that emits something as soon as a client is back."""

    async def on_revive(self, socket: Socket, marks: Mapping[str, int]) -> bool:
        socket.emit("hello", 1)
        return True

    def revived(self, socket: Socket, marks: Mapping[str, int]) -> None:
        socket.emit("rest", 2)


def worker(name: str, lobby: Namespace) -> Server:
    options = SocketIOOptions(
        recovery_window_s=60, secret=b"s", address=address_of(name)
    )
    return Server(SocketIO([lobby], options), Options(), secret=b"s")


async def test_what_it_emits_while_its_client_is_judged_counts_on() -> None:
    before, lobby = Namespace(), Greeting()
    _, wire, answer = await joined(worker("one", before))
    [socket] = before.sockets
    for number in range(5):
        socket.emit("x", number)
    await turns()
    seen = content_of(wire.told[-1])[-1]
    server = worker("two", lobby)
    peer, wire, again = await joined_again(server, answer, {}, offset=seen)
    await turns()
    assert again == answer
    [hello, rest] = [content_of(frame) for frame in wire.told]
    assert (hello[:2], rest[:2]) == (["hello", 1], ["rest", 2])
    assert int(seen) < int(hello[-1]) < int(rest[-1])

    # Its client had only the first of them when it was lost again.
    peer.lose_websocket(wire)
    await turns()
    [socket] = lobby.absent
    socket.emit("later", 3)
    _, wire, again = await joined_again(server, answer, {}, offset=hello[-1])
    await turns()

    assert again == answer
    assert [content_of(f)[:2] for f in wire.told] == [["rest", 2], ["later", 3]]


class Judging(Namespace):
    """A namespace that has certain logs, and notes which ones it is asked for."""

    def __init__(self, *logs: str) -> None:
        super().__init__()
        self.asked: list[Mapping[str, int]] = []
        self.logs = set(logs)

    async def on_revive(self, socket: Socket, marks: Mapping[str, int]) -> bool:
        self.asked.append(dict(marks))
        return marks.keys() <= self.logs


async def told(logs: int) -> tuple[dict[str, Any], str]:
    """Return what a client knows that was being sent this number of logs."""
    before = Namespace()
    _, wire, answer = await joined(worker("one", before))
    [socket] = before.sockets
    for number in range(logs):
        socket.marks.note(f"log{number}", number)
    socket.emit("x")
    await turns()
    return answer, content_of(wire.told[-1])[-1]


@pytest.mark.parametrize("has", [True, False])
async def test_it_is_made_anew_where_its_logs_are_to_be_had(has: bool) -> None:
    answer, seen = await told(2)
    lobby = Judging("log0", *(["log1"] if has else []))
    _, _, again = await joined_again(worker("two", lobby), answer, {}, offset=seen)
    assert lobby.asked == [{"log0": 0, "log1": 1}]
    assert (again == answer) is has
    [socket] = lobby.sockets
    assert (socket.id == answer["sid"]) is has


async def test_it_is_not_made_anew_where_an_offset_has_no_room_for_its_logs() -> None:
    answer, seen = await told(MAX_MARKS + 1)
    lobby = Judging(*(f"log{number}" for number in range(MAX_MARKS + 1)))
    _, _, again = await joined_again(worker("two", lobby), answer, {}, offset=seen)
    assert again["sid"] != answer["sid"]
    assert again["pid"] != answer["pid"]
    assert lobby.asked == []


class Parting(Namespace):
    """A namespace that lets every socket be recreated, but none be recovered."""

    def __init__(self) -> None:
        super().__init__()
        self.revived_sockets = 0

    async def on_recover(self, socket: Socket, auth: dict[str, Any]) -> bool:
        return False

    async def on_revive(self, socket: Socket, marks: Mapping[str, int]) -> bool:
        self.revived_sockets += 1
        return True


async def test_a_socket_that_its_client_may_not_have_again_is_not_made_anew() -> None:
    """The application sent the client away; the worker that its `pid` names is gone."""
    answer, seen = await told(1)
    lobby = Parting()
    server = worker("two", lobby)
    peer, wire, again = await joined_again(server, answer, {}, offset=seen)
    assert again == answer
    peer.lose_websocket(wire)
    await turns()
    for _ in range(2):
        _, _, other = await joined_again(server, answer, {}, offset=seen)
        assert other["sid"] != answer["sid"]
    assert lobby.revived_sockets == 1


class Ending(Judging):
    """A namespace whose clients hear of each end, however much they have missed."""

    vital = frozenset({"end"})


async def test_one_that_has_moved_still_knows_what_its_client_had_before() -> None:
    answer, seen = await told(0)
    lobby, there = Ending(), Ending()
    server, elsewhere = worker("two", lobby), worker("three", there)
    peer, wire, again = await joined_again(server, answer, {}, offset=seen)
    assert again == answer
    peer.lose_websocket(wire)
    await turns()
    member = _members(server)._by_pid[answer["pid"]]
    state = json.loads(json.dumps(member.hand_over("there")))
    moved = _members(elsewhere).bring(there, state, member.socket.handshake, None)
    moved.detach("transport close", recoverable=True)
    moved.socket.emit("end", "a")
    for _ in range(11):
        moved.socket.emit("x", "x" * 100_000)

    _, wire, again = await joined_again(elsewhere, answer, {}, offset=seen)
    await turns()

    # The different pid tells the client that it has missed something.
    assert again["sid"] == answer["sid"]
    assert again["pid"] != answer["pid"]
    assert [content_of(frame)[1] for frame in wire.told] == ["a"]
    assert len(there.asked) == 0


def _members(server: Server) -> Any:
    socketio: Any = server._application
    return socketio._members
