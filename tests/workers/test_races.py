"""What can happen while something is on its way from one worker to another."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from llmchat.realtime import ComeBackLater, Namespace
from llmchat.realtime.engineio.events import CloseReason
from llmchat.realtime.line import SocketIOLine
from llmchat.realtime.member import Member
from llmchat.realtime.members import Members, Nowhere
from llmchat.realtime.outlet import Line
from llmchat.realtime.pids import Pids
from llmchat.realtime.relay import names
from llmchat.realtime.relay.claims import Claims
from llmchat.realtime.relay.reception import Reception
from llmchat.realtime.relay.remote_probe import MAX_WAITING_FRAMES, RemoteProbe
from llmchat.realtime.relay.remote_session import UNAVAILABLE, RemoteSession
from llmchat.realtime.request import Handshake
from llmchat.realtime.socketio.connection import Limits
from llmchat.workers import address_of, route
from llmchat.workers.address import channel_of
from tests.workers.test_mailbox import Lossy, OpenBox, hears_all, layer, open_box

__all__ = ["layer", "open_box"]
ONE, TWO, THREE, FOUR, FIVE = map(address_of, ("one", "two", "three", "four", "five"))
SHAKE = Handshake({}, {}, "", False, "")


class AnyLine:
    """A connection that takes everything."""

    writable, transport = True, "websocket"

    def send(self, messages: Any, replay: Any = None, number: int = 0) -> None:
        """Take it."""

    async def drain(self) -> None:
        """Wait for nothing."""

    def expel(self, namespace: str, *, close: bool) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Slow(Namespace):
    name = "/"
    may = False

    def may_move(self, socket: Any) -> bool:
        return self.may

    async def on_revive(self, socket: Any, marks: Any) -> bool:
        await asyncio.sleep(0)
        return True


def line() -> Line:
    return AnyLine()


async def test_a_socket_whose_client_came_back_here_is_not_given_away(
    open_box: OpenBox,
) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    namespace, members = Slow(), Members(10.0, Pids(ONE, b"x"))
    Claims(one, members, {"/": namespace})
    elsewhere = Claims(two, Members(10.0, Pids(TWO, b"x")), {"/": namespace})
    member = members.create(namespace, {}, SHAKE, line())
    members.grant(member)
    member.admit()
    member.detach("transport close", recoverable=True)
    auth = {"pid": member.pid}
    fetching = asyncio.create_task(elsewhere.fetch(namespace, auth))
    await asyncio.sleep(0.2)
    assert await members.claim(namespace, auth) is member
    member.attach(line(), auth, SHAKE)
    member.admit()
    namespace.may = True
    assert not isinstance(await fetching, dict)
    assert member.socket.connected
    members.forget(member)


async def test_a_socket_whose_client_is_to_come_back_later_stays_where_it_is(
    open_box: OpenBox,
) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    namespace, members = Slow(), Members(10.0, Pids(ONE, b"x"))
    Claims(one, members, {"/": namespace})
    elsewhere = Claims(two, Members(10.0, Pids(TWO, b"x")), {"/": namespace})
    member, auth = a_socket_left_behind(members, namespace)
    judge = namespace.on_recover

    async def cannot_tell(socket: Any, auth: dict[str, Any]) -> bool:
        raise ComeBackLater

    namespace.on_recover = cannot_tell  # type: ignore[method-assign]
    with pytest.raises(ComeBackLater):
        await elsewhere.fetch(namespace, auth)
    # A worker of an older version takes this for a socket that it has to recreate.
    reply = await two.ask(ONE, names.CLAIM, ["/", json.dumps(auth)])
    assert reply["moved"] is None

    namespace.on_recover, namespace.may = judge, True  # type: ignore[method-assign]
    assert await members.claim(namespace, auth) is member
    members.forget(member)


async def test_a_socket_that_goes_while_its_client_is_judged_is_known_to_be_there(
    open_box: OpenBox,
) -> None:
    """Its session moves, but its client has given that up and returns another way."""
    one, two = await open_box(ONE), await open_box(TWO)
    namespace, members = Slow(), Members(10.0, Pids(ONE, b"x"))
    namespace.may = True
    Claims(one, members, {"/": namespace})
    member, auth = a_socket_left_behind(members, namespace)
    await soon(lambda: member.is_at_rest)

    async def judge(socket: Any, auth: dict[str, Any]) -> bool:
        member.hand_over(THREE)
        return True

    namespace.on_recover = judge  # type: ignore[method-assign]
    body = ["/", json.dumps(auth)]
    assert await two.ask(ONE, names.CLAIM, body) == {"moved": THREE}


async def test_two_connections_at_once_revive_one_socket() -> None:
    pids, namespace = Pids(TWO, b"x"), Slow()
    members = Members(10.0, pids)
    pid = Pids(ONE, b"x").make("/", "s" * 20, "")
    auth = {"pid": pid, "offset": "7"}
    made = await asyncio.gather(
        *(members.revive(namespace, auth, SHAKE, line()) for _ in range(2))
    )
    assert [one is None for one in made] == [False, True]
    members.note_moved(pid, ONE, 0.0)
    assert made[0] is not None
    members.dismiss(made[0])
    again = await members.revive(namespace, auth, SHAKE, line())
    assert again is not None
    assert members.moved_to(pid) is None
    members.dismiss(again)


class AnyWebSocket:
    """A WebSocket that takes everything."""

    def takes_texts(self) -> bool:
        return False

    def write_texts(self, frames: list[str]) -> None:
        raise NotImplementedError

    async def send_frame(self, frame: str | bytes) -> None:
        """Take it."""

    async def close(self, code: int) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


class Joining:
    """What a line needs from its peer while it joins."""

    handshake, transport, writable = SHAKE, "websocket", True

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.line: SocketIOLine | None = None

    def send(self, messages: list[Any], *_: Any) -> int:
        self.sent += messages
        return len(self.sent)

    def close(self, reason: CloseReason = CloseReason.FORCED_CLOSE) -> None:
        if self.line is not None:
            self.line.closed(reason)


class Broken:
    is_broken = False

    def break_off(self) -> None:
        self.is_broken = True


def taking(session: Broken) -> tuple[Any, Any]:
    """Return whether a session may be taken over, and what takes it over."""
    return lambda: True, lambda sid, state: session


async def test_a_session_whose_websocket_is_lost_on_the_way_is_kept(
    open_box: OpenBox,
) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    release, asked = asyncio.Event(), asyncio.Event()
    probes, broken = [], Broken()

    async def hold(sender: str, body: Any) -> None:
        await release.wait()

    async def probe(sender: str, body: Any) -> bool:
        probes.append(body)
        return True

    async def take(sender: str, body: Any) -> Any:
        asked.set()
        await release.wait()
        return {"state": 1}

    async def nothing(sender: str, body: Any) -> None:
        """Do nothing."""

    one.on(names.OPEN_PROBE, hold)
    one.on(names.MAY_PONG, probe)
    one.on(names.PING_PROBE, nothing)
    one.on(names.TAKE, take)
    one.on(names.BREAK, nothing)
    moving = RemoteProbe("s", ONE, two, AnyWebSocket(), *taking(broken))  # type: ignore[arg-type, return-value]
    for _ in range(3):
        moving.receive("2probe")
    moving.receive("5")  # without waiting for an answer
    await asked.wait()
    assert len(probes) == 3
    moving.lose()
    release.set()
    async with asyncio.timeout(20):
        while not broken.is_broken:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_probe_that_was_given_up_is_not_written_to(
    open_box: OpenBox, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    asked, release = asyncio.Event(), asyncio.Event()

    class Closed(AnyWebSocket):
        closes = 0

        async def send_frame(self, frame: str | bytes) -> None:
            raise RuntimeError("closed already")

        async def close(self, code: int) -> None:
            self.closes += 1

    async def probe(sender: str, body: Any) -> bool:
        asked.set()
        await release.wait()
        return True

    async def hold(sender: str, body: Any) -> None:
        await asyncio.Event().wait()

    one.on(names.OPEN_PROBE, hold)
    one.on(names.MAY_PONG, probe)
    websocket = Closed()
    moving = RemoteProbe("s", ONE, two, websocket, *taking(Broken()))  # type: ignore[arg-type, return-value]
    moving.receive("2probe")
    await asked.wait()
    for _ in range(MAX_WAITING_FRAMES + 1):
        moving.receive("4")
    release.set()
    await soon(lambda: not moving._tasks)
    assert websocket.closes == 1
    assert caplog.records == []


async def test_a_body_waits_for_the_announcement_of_its_post(
    open_box: OpenBox,
) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    taken: list[bytes] = []

    class AnyPeer:
        session = type("S", (), {"transport": "polling"})

        def start_post(self, post: Any) -> None:
            """Take it."""

        def receive_payload(self, post: Any, body: bytes) -> None:
            taken.append(body)
            post.accept()

    peer = AnyPeer()
    Reception(one, lambda sid: peer)  # type: ignore[arg-type, return-value]
    body = two.ask(ONE, names.BODY, ["s", "k", b"x"])
    await asyncio.sleep(0.1)
    post = two.ask(ONE, names.POST, ["s", "k", None])
    async with asyncio.timeout(20):
        assert await post == [names.ACCEPT]
        await body
    assert taken == [b"x"]


@pytest.mark.parametrize("is_gone", [False, True])
async def test_a_post_whose_body_cannot_be_passed_on_is_refused_once(
    open_box: OpenBox, layer: Lossy, monkeypatch: pytest.MonkeyPatch, is_gone: bool
) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    announced = asyncio.Event()

    async def hold(sender: str, body: Any) -> None:
        announced.set()
        await asyncio.Event().wait()

    one.on(names.POST, hold)
    told: list[object] = []

    class AnyPost:
        accept = deny = refuse = told.append

    session = RemoteSession("s", ONE, two, *taking(Broken()))
    session.start_post(AnyPost())  # type: ignore[arg-type]
    await announced.wait()
    if is_gone:
        await one.close()
        layer.deaf.add(channel_of(ONE))
    else:
        monkeypatch.setattr(route, "MAX_BYTES", 0)
    session.receive_payload(AnyPost(), b"40")  # type: ignore[arg-type]
    await soon(lambda: bool(told))
    await soon(lambda: is_gone or not one._working)
    assert len(told) == 1
    assert is_gone or told == [UNAVAILABLE]


async def test_a_way_by_which_letters_come_is_not_idle(open_box: OpenBox) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    began, release = asyncio.Event(), asyncio.Event()

    async def hold(sender: str, body: Any) -> str:
        began.set()
        await release.wait()
        return "now"

    two.on("hold", hold)
    held = one.ask(TWO, "hold")
    await began.wait()
    way, long_ago = two._routes[ONE], -3600.0
    for at in range(3):
        # An hour later, as it were, a ping arrives: a worker that waits sends them.
        way.used_at = long_ago
        await soon(lambda: way.used_at > long_ago)
        await soon(lambda: way.is_idle)
        two._route(f"{at:011}")
    release.set()
    assert await asyncio.wait_for(held, 20) == "now"


async def test_a_socket_is_kept_though_the_join_that_fetched_it_was_cancelled() -> None:
    namespace = Slow()
    mine, theirs = Members(10.0, Pids(ONE, b"x")), Members(10.0, Pids(TWO, b"x"))
    namespace.may = True
    member = theirs.create(namespace, {}, SHAKE, line())
    theirs.grant(member)
    member.admit()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    member.detach("transport close", recoverable=True)
    pid, release = member.pid, asyncio.Event()
    assert pid is not None

    async def fetch(_: Namespace, auth: dict[str, Any]) -> dict[str, Any]:
        await release.wait()
        return member.hand_over(ONE)

    mine.fetch = fetch
    joined = SocketIOLine(Joining(), {"/": namespace}, mine, Limits())  # type: ignore[arg-type]
    joined.receive(f'0{{"pid":"{pid}"}}')
    await asyncio.sleep(0.05)
    joined.closed(CloseReason.TRANSPORT_CLOSE)
    release.set()
    await asyncio.sleep(0.05)
    again = await mine.claim(namespace, {"pid": pid})
    assert again is not None
    mine.dismiss(again)


async def test_a_client_that_comes_back_twice_at_once_has_its_socket_anew() -> None:
    namespace, members = Slow(), Members(10.0, Pids(ONE, b"x"))
    pid, found_gone = Pids(TWO, b"x").make("/", "s" * 20, ""), asyncio.Event()
    asked = []

    async def fetch(_: Namespace, auth: dict[str, Any]) -> Nowhere:
        asked.append(auth["pid"])
        await found_gone.wait()
        return Nowhere.GONE

    members.fetch = fetch
    peers = [Joining(), Joining()]
    for peer in peers:
        # The answer to the first is lost: its client has given it up.
        peer.line = SocketIOLine(peer, {"/": namespace}, members, Limits())  # type: ignore[arg-type]
        peer.line.receive(f'0{{"pid":"{pid}","offset":"7"}}')
    await soon(lambda: asked == [pid])
    found_gone.set()
    await soon(lambda: bool(peers[1].sent))
    assert "s" * 20 in str(peers[1].sent)
    assert pid in str(peers[1].sent)
    assert asked == [pid]
    (socket,) = namespace.sockets
    assert (socket.id, socket.recovered) == ("s" * 20, True)
    members.shutdown()


async def test_a_socket_that_was_made_anew_elsewhere_is_known_to_be_there(
    open_box: OpenBox, layer: Lossy
) -> None:
    home, old, new = [await open_box(address) for address in (ONE, TWO, THREE)]
    for box in (home, old, new):
        await hears_all(layer, box)
    namespaces = [Slow(), Slow(), Slow()]
    members = [Members(10.0, Pids(box.address, b"x")) for box in (home, old, new)]
    for box, theirs, namespace in zip(
        (home, old, new), members, namespaces, strict=True
    ):
        namespace.may = True
        Claims(box, theirs, {"/": namespace})
    # The first worker issued the pid, the second has what a client left there.
    pid = members[0].pids.make("/", "s" * 20, "")
    auth = {"pid": pid, "offset": "7"}
    left = await members[1].revive(namespaces[1], auth, SHAKE, line())
    assert left is not None
    left.admit()
    left.detach("transport close", recoverable=True)
    await soon(lambda: members[0].moved_to(pid) == TWO)

    there = await members[2].revive(namespaces[2], auth, SHAKE, line())

    assert there is not None
    await soon(lambda: members[0].moved_to(pid) == THREE)
    await soon(lambda: members[1].moved_to(pid) == THREE)
    assert await members[1].claim(namespaces[1], auth) is None
    members[2].forget(there)


@dataclass
class Three:
    """Three workers; the clients' pids are from another one, which is gone."""

    pid: str
    auth: dict[str, Any]
    namespaces: list[Slow]
    members: list[Members]
    claims: list[Claims]

    async def revive(self, at: int) -> Member | None:
        return await self.members[at].revive(
            self.namespaces[at], self.auth, SHAKE, line()
        )


@pytest.fixture
async def three(open_box: OpenBox, layer: Lossy) -> Three:
    boxes = [await open_box(address) for address in (TWO, THREE, FOUR)]
    for box in boxes:
        await hears_all(layer, box)
    namespaces = [Slow() for _ in boxes]
    members = [Members(10.0, Pids(box.address, b"x")) for box in boxes]
    for namespace in namespaces:
        namespace.may = True
    claims = [
        Claims(box, theirs, {"/": namespace})
        for box, theirs, namespace in zip(boxes, members, namespaces, strict=True)
    ]
    pid = Pids(ONE, b"x").make("/", "s" * 20, "")
    return Three(pid, {"pid": pid, "offset": "7"}, namespaces, members, claims)


async def test_two_workers_that_make_a_socket_anew_at_once_keep_one_of_it(
    three: Three,
) -> None:
    made = await asyncio.gather(three.revive(0), three.revive(1))
    for member in made:
        assert member is not None
        member.admit()
        member.detach("transport close", recoverable=True)
    await soon(lambda: three.members[2].moved_to(three.pid) is not None)
    await soon(lambda: three.members[0].moved_to(three.pid) is not None)
    await asyncio.sleep(0.2)

    kept = [list(members._by_pid) for members in three.members]
    assert kept == [[], [three.pid], []]
    assert three.members[0].moved_to(three.pid) == THREE
    assert three.namespaces[0].find("s" * 20) is None
    assert three.namespaces[1].find("s" * 20) is not None


async def test_a_socket_that_was_made_anew_is_found_where_it_is(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = await three.revive(0)
    assert member is not None
    member.admit()
    member.detach("transport close", recoverable=True)
    await soon(lambda: three.members[1].moved_to(three.pid) == TWO)

    # Nothing waits for the worker that is gone.
    monkeypatch.setattr(route, "GONE_S", 3600.0)
    async with asyncio.timeout(20):
        state = await three.claims[1].fetch(three.namespaces[1], three.auth)

    assert isinstance(state, dict)
    assert state["pid"] == three.pid


async def test_a_socket_that_has_moved_before_it_was_told_of_is_kept() -> None:
    # Any worker may announce it: the order of their addresses must not matter.
    for there, here in ((ONE, TWO), (TWO, ONE)):
        namespaces = [Slow(), Slow()]
        first, second = [Members(10.0, Pids(at, b"x")) for at in (there, here)]
        told: list[tuple[str, float]] = []
        first.announce = lambda pid, at, told=told: told.append((pid, at))  # type: ignore[misc]
        pid = Pids(THREE, b"x").make("/", "s" * 20, "")
        auth = {"pid": pid, "offset": "7"}
        made = await first.revive(namespaces[0], auth, SHAKE, line())
        assert made is not None
        made.admit()
        namespaces[0].may = True
        await soon(lambda made=made: made.is_at_rest)  # type: ignore[misc]
        state = made.hand_over(here)
        moved = second.take_over(namespaces[1], state, SHAKE, line())
        (said,) = told
        assert second.revived_at(said[0], there, said[1]) is None
        assert second.moved_to(pid) is None
        assert second._by_pid[pid] is moved
        second.dismiss(moved)


def a_socket_left_behind(
    members: Members, namespace: Slow
) -> tuple[Member, dict[str, Any]]:
    """Return a socket whose client is away, and has three of its events."""
    member = members.create(namespace, {}, SHAKE, line())
    members.grant(member)
    member.admit()
    hears(member, 3)
    member.detach("transport close", recoverable=True)
    return member, {"pid": member.pid, "offset": "3"}


def hears(member: Member, count: int) -> str:
    """Emit events to a socket; return the offset of the last."""
    for _ in range(count):
        member.socket.emit("said", "something")
    assert member.outlet.replay is not None
    return str(member.outlet.replay.last)


@pytest.mark.parametrize("hears_on", ["the old one", "the new one"])
async def test_a_socket_that_was_made_anew_counts_apart_from_what_is_left_of_it(
    hears_on: str,
) -> None:
    """Its worker is alive after all, was not notified, and continues to send."""
    namespaces = [Slow(), Slow()]
    first, second = [Members(10.0, Pids(at, b"x")) for at in (ONE, TWO)]
    old, auth = a_socket_left_behind(first, namespaces[0])
    new = await second.revive(namespaces[1], auth, SHAKE, line())
    assert new is not None
    new.admit()
    if hears_on == "the old one":
        new.detach("transport close", recoverable=True)
        auth["offset"] = hears(old, 5)
        hears(new, 9)
        at, there = second, namespaces[1]
    else:
        hears(old, 9)
        auth["offset"] = hears(new, 5)
        at, there = first, namespaces[0]
    # What follows that number here is not what the client lacks.
    assert await at.claim(there, auth) is None
    assert at.is_behind(auth)
    first.dismiss(old)
    second.dismiss(new)


async def test_a_client_that_has_heard_nothing_of_its_new_socket_has_that_again() -> (
    None
):
    namespace, members = Slow(), Members(10.0, Pids(TWO, b"x"))
    pid = Pids(ONE, b"x").make("/", "s" * 20, "")
    auth = {"pid": pid, "offset": "7"}
    new = await members.revive(namespace, auth, SHAKE, line())
    assert new is not None
    new.admit()
    hears(new, 2)
    new.detach("transport close", recoverable=True)
    assert await members.claim(namespace, auth) is new
    assert new.pid == pid
    assert new.outlet.replay is not None
    assert len(new.outlet.replay.events) == 2
    members.dismiss(new)


async def test_a_client_that_has_missed_too_much_of_its_new_socket_is_told_so() -> None:
    """What it had from the old one is still known when all that was kept is dropped."""
    namespace, members = Slow(), Members(10.0, Pids(TWO, b"x"))
    pid = Pids(ONE, b"x").make("/", "s" * 20, "")
    auth = {"pid": pid, "offset": "7"}
    new = await members.revive(namespace, auth, SHAKE, line())
    assert new is not None
    new.admit()
    new.detach("transport close", recoverable=True)
    hears(new, 2)
    new.outlet.shed()
    assert await members.claim(namespace, auth) is new
    assert new.pid != pid
    # The client may not receive that, and return with the old one again.
    assert await members.claim(namespace, auth) is new
    # Once it has the new one, the old one is of no use, whichever worker gets it.
    members.forget_former(new)
    assert await members.claim(namespace, auth) is None
    assert not members.is_lost(pid)
    members.dismiss(new)


async def test_a_socket_that_its_worker_ends_instead_does_not_move(
    three: Three,
) -> None:
    member, auth = a_socket_left_behind(three.members[0], three.namespaces[0])
    await soon(lambda: member.is_at_rest)
    three.namespaces[0].move_out = (  # type: ignore[method-assign]
        lambda socket, worker: socket.disconnect()
    )
    state = await three.claims[1].fetch(three.namespaces[1], auth)
    assert state is Nowhere.UNKNOWN
    assert not three.members[0]._by_pid


async def test_who_has_missed_too_much_and_hears_nothing_of_its_move_is_told_anew(
    three: Three,
) -> None:
    """The answer of the worker that fetched its socket is lost."""
    member, auth = a_socket_left_behind(three.members[0], three.namespaces[0])
    member.outlet.shed()
    auth["offset"] = "0"
    await soon(lambda: member.is_at_rest)
    for at in (1, 2):
        # It returns first to the second worker, and then to the third.
        state = await three.claims[at].fetch(three.namespaces[at], auth)
        assert isinstance(state, dict)
        assert state["pid"] != auth["pid"] == state["former_pid"]
        moved = three.members[at].take_over(three.namespaces[at], state, SHAKE, line())
        moved.detach("transport close", recoverable=True)
        await soon(lambda: moved.is_at_rest)  # noqa: B023
    assert await three.members[2].claim(three.namespaces[2], auth) is moved
    assert [len(members._by_pid) for members in three.members] == [0, 0, 2]
    # If it is recreated elsewhere, both pids become useless here.
    three.members[2].revived_at(auth["pid"], TWO, time.time() + 1)
    assert not three.members[2]._by_pid


async def test_two_that_make_a_socket_anew_unheard_count_apart() -> None:
    """Its client came to both after the same event, while Redis was away."""
    pid = Pids(ONE, b"x").make("/", "s" * 20, "")
    auth = {"pid": pid, "offset": "7"}
    seen = set()
    for number in range(20):
        members = Members(10.0, Pids(address_of(str(number)), b"x"))
        new = await members.revive(Slow(), auth, SHAKE, line())
        assert new is not None
        seen.add(hears(new, 1))
        members.dismiss(new)
    assert len(seen) > 1


async def test_of_many_sockets_that_are_made_anew_all_are_told_at_once(
    three: Three, open_box: OpenBox, layer: Lossy
) -> None:
    told: list[list[Any]] = []
    other = await open_box(FIVE)
    await hears_all(layer, other)

    async def hear(sender: str, body: Any) -> None:
        told.append(body)

    other.on(names.REVIVED, hear)
    pids = [Pids(ONE, b"x").make("/", f"{at:020}", "") for at in range(300)]
    for pid in pids:
        auth = {"pid": pid, "offset": "7"}
        assert await three.members[0].revive(three.namespaces[0], auth, SHAKE, line())
    await soon(lambda: {pid for body in told for pid, _ in body[1]} == set(pids))
    assert len(told) < 30
    await soon(lambda: all(three.members[1].moved_to(pid) == TWO for pid in pids))


async def test_what_is_left_of_a_socket_does_not_take_the_new_one_along(
    three: Three,
) -> None:
    three.namespaces[0].may = False  # it is at work, and cannot be handed over
    left = await three.revive(0)
    assert left is not None
    made_at = time.time() + 1
    three.members[0].revived_at(three.pid, THREE, made_at)
    assert await three.members[0].claim(three.namespaces[0], three.auth) is None
    state = {
        "id": "s" * 20,
        "pid": three.pid,
        "auth": "{}",
        "rooms": ["blue"],
        "recovered": True,
        "made_at": made_at,
        "data": None,
        "outlet": [None, 0, 0, {}],
    }
    came = three.members[0].take_over(three.namespaces[0], state, SHAKE, line())
    three.members[0].dismiss(left)
    assert three.namespaces[0].find("s" * 20) is came.socket
    assert list(three.members[0]._by_pid) == [three.pid]
    assert three.namespaces[0].sockets_in("blue") == [came.socket]


async def soon(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
