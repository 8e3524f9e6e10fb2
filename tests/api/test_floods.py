"""Users who send too much, and users who open too many sockets."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from accounts.errors import TokenError
from accounts.verified import Verified
from llmchat import conf
from llmchat.api import floods, visitors
from llmchat.api import namespace as namespaces
from llmchat.api.awaited import Awaited
from llmchat.api.floods import BLOCK_S, FACTOR, WINDOW_S, Floods, claimed_user
from llmchat.api.namespace import ChatNamespace
from llmchat.api.visitors import room_of
from llmchat.errors import refusal
from llmchat.realtime import Peer, Server, Socket
from tests.support.peers import Wire, joined, opened, serving, turns
from tests.support.wire import connect_packet, content_of, event

ANN, BOB = 1, 2
ASK, ERROR = "llm:chat:stream", "llm:stream:error"
LIMIT = 5
MOST = 3


class Clock:
    """A stand-in for the module `time`."""

    time = staticmethod(time.time)

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(namespaces, "time", clock)
    return clock


def token(user: int) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"user_id": str(user)}).encode())
    return f"x.{claims.decode().rstrip('=')}.y"


class Chat(ChatNamespace):
    """A namespace that counts how often the database is asked."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._floods = Floods(clock.monotonic)
        self.asked = 0


@pytest.fixture
def chat(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Chat:
    chat = Chat(clock)

    async def read(call: Any, argument: Any) -> Any:
        chat.asked += 1
        user_id = claimed_user(argument)
        if not user_id:
            raise TokenError("token_invalid")
        return Verified(user_id, time.time() + 60)

    def known(raw: Any) -> None:
        if str(raw).startswith("forged"):
            raise TokenError("token_invalid")

    counts: dict[int, int] = {}

    async def count(sender: Verified) -> None:
        user_id = sender.user_id
        counts[user_id] = counts.get(user_id, 0) + 1
        if counts[user_id] > LIMIT:
            raise refusal("rate_limited", retry_after=9)

    values = dataclasses.replace(
        conf.get(), messages_per_minute=LIMIT, max_sockets_per_user=MOST
    )
    running = SimpleNamespace(
        streams=SimpleNamespace(find=lambda user, name: None),
        mirrors=SimpleNamespace(heard=lambda user, name: None),
        mailbox=None,
        on=lambda name, hear: None,
    )
    monkeypatch.setattr(visitors, "read_database", read)
    monkeypatch.setattr(visitors, "known", known)
    monkeypatch.setattr(namespaces, "count_message", count)
    monkeypatch.setattr(namespaces, "count_obeyed", lambda user_id: None)
    monkeypatch.setattr(namespaces.runtime, "get", lambda: running)
    monkeypatch.setattr(conf, "get", lambda: values)
    return chat


@pytest.fixture
def server(chat: Chat) -> Server:
    return serving(chat)


async def ann(server: Server) -> tuple[Peer, Wire, dict[str, Any]]:
    return await joined(server, {"token": token(ANN)})


async def refused(server: Server, user: int, **auth: Any) -> dict[str, Any]:
    return await refused_token(server, {"token": token(user), **auth})


async def refused_token(server: Server, auth: dict[str, Any]) -> dict[str, Any]:
    peer, wire = await opened(server, "websocket")
    peer.receive_frame(wire, connect_packet("/", auth))
    await turns()
    assert wire.told[0].startswith("44"), wire.told
    error: dict[str, Any] = json.loads(wire.told[0][2:])
    return error


def errors(wire: Wire) -> list[str]:
    frames = [str(frame) for frame in wire.told]
    return [content_of(frame)[1]["code"] for frame in frames if frame.startswith("42[")]


def told(wire: Wire, name: str) -> list[tuple[str | None, str]]:
    """Return the sessions and codes of the events with a name."""
    frames = [str(frame) for frame in wire.told if str(frame).startswith("42[")]
    data = [
        said for said_name, said, *_ in map(content_of, frames) if said_name == name
    ]
    return [(said.get("sessionId"), said["code"]) for said in data]


def acks(wire: Wire) -> dict[str, str]:
    """Return the codes of the acknowledgements, all of them refusals, by their ids."""
    frames = [str(frame) for frame in wire.told if str(frame).startswith("43")]
    parts = [frame[2:].partition("[") for frame in frames]
    found = [(ident, json.loads(f"[{rest}")[0]) for ident, _, rest in parts]
    assert not any(answer["ok"] for _, answer in found)
    return {ident: answer["code"] for ident, answer in found}


async def send(peer: Peer, wire: Wire, count: int, name: str = "x") -> None:
    for number in range(count):
        peer.receive_frame(wire, event(name, {"sessionId": f"s{number}"}))
        await turns()


async def test_of_events_that_are_no_questions_the_limit_is_told_once_a_second(
    server: Server, clock: Clock
) -> None:
    peer, wire, _ = await ann(server)

    await send(peer, wire, LIMIT + 20)
    assert errors(wire) == ["rate_limited"]
    clock.now += 1
    await send(peer, wire, 10)

    assert errors(wire) == ["rate_limited"] * 2


async def test_above_the_limit_each_question_has_its_error_and_its_ack(
    server: Server,
) -> None:
    peer, wire, _ = await ann(server)
    await send(peer, wire, LIMIT + 1)
    wire.told.clear()
    for number in (1, 2):  # in the same second, as two chats of one page ask
        asked = event(ASK, {"sessionId": f"q{number}"}, ack_id=number)
        peer.receive_frame(wire, asked)
        await turns()

    assert told(wire, ERROR) == [(f"q{number}", "rate_limited") for number in (1, 2)]
    assert acks(wire) == {"1": "rate_limited", "2": "rate_limited"}


async def test_a_payload_full_of_questions_is_refused_as_far_as_it_may_go(
    server: Server,
) -> None:
    """What the server sends in reply to a burst is bounded, however long that is."""
    peer, wire, _ = await ann(server)
    await send(peer, wire, LIMIT)
    wire.told.clear()
    for number in range(10_000):
        asked = event(ASK, {"sessionId": f"q{number}"}, ack_id=number)
        peer.receive_frame(wire, asked)
    async with asyncio.timeout(60):
        while not wire.is_closed:  # noqa: ASYNC110 - no clock is waited for
            await asyncio.sleep(0)
    await turns()

    # Up to the event that is one too many, and the next, whose error says why the
    # connection is closed. The CONNECT counted, too.
    number = (FACTOR - 1) * LIMIT - 1 + 2
    assert told(wire, ERROR) == [(f"q{n}", "rate_limited") for n in range(number)]
    assert list(acks(wire)) == [str(n) for n in range(number)]


@pytest.mark.parametrize("name", ["x", ASK, "llm:stream:cancel"])
async def test_who_floods_is_disconnected_for_a_while(
    server: Server, chat: Chat, clock: Clock, name: str, caplog
) -> None:
    peer, wire, answer = await ann(server)

    await send(peer, wire, FACTOR * LIMIT + 2, name)

    assert ("closed", 1000) in wire.told
    assert errors(wire)[-1] == "rate_limited"
    asked = chat.asked
    error = await refused(server, ANN)
    assert error["data"] == {"code": "rate_limited", "retryAfter": BLOCK_S}
    assert chat.asked == asked
    assert "user 1 sent far more than the limit" in caplog.text
    again = await refused(server, ANN, pid=answer["pid"])
    assert again["data"]["code"] == "rate_limited"
    await joined(server, {"token": token(BOB)})
    clock.now += BLOCK_S
    _, _, back = await joined(server, {"token": token(ANN), "pid": answer["pid"]})
    assert back == answer


async def test_a_cancel_of_what_runs_is_obeyed_all_the_same(
    server: Server, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet, quiet_wire, _ = await ann(server)
    loud, loud_wire, _ = await ann(server)
    await send(loud, loud_wire, FACTOR * LIMIT + 2)
    cancelled = []
    streams = SimpleNamespace(find=lambda user, name: object())
    running = SimpleNamespace(streams=streams, mailbox=None)
    monkeypatch.setattr(namespaces.runtime, "get", lambda: running)
    monkeypatch.setattr(
        namespaces, "cancel_stream", lambda **names: cancelled.append(names)
    )
    monkeypatch.setattr(namespaces, "_too_late", nothing)

    await send(quiet, quiet_wire, 1, "llm:stream:cancel")
    assert cancelled == [{"user_id": ANN, "session_id": "s0"}]
    assert not quiet_wire.is_closed
    await send(quiet, quiet_wire, 1)

    assert quiet_wire.is_closed


@pytest.mark.parametrize("name", ["llm:stream:attach", "llm:stream:cancel", ASK])
async def test_a_blocked_user_is_told_of_no_end_of_what_may_run(
    server: Server, name: str
) -> None:
    """A stream named in an error has ended; so only a refused question is named."""
    quiet, quiet_wire, _ = await ann(server)
    loud, loud_wire, _ = await ann(server)
    await send(loud, loud_wire, FACTOR * LIMIT + 2)

    quiet.receive_frame(quiet_wire, event(name, {"sessionId": "s0"}, ack_id=1))
    await turns()

    named = "s0" if name == ASK else None
    assert told(quiet_wire, ERROR) == [(named, "rate_limited")]
    assert acks(quiet_wire) == {"1": "rate_limited"}
    assert quiet_wire.is_closed


async def nothing(*args: Any) -> None:
    pass


def test_a_flood_is_logged_once_a_minute(chat: Chat, clock: Clock, caplog) -> None:
    for user in range(20):
        for _ in range(FACTOR * LIMIT + 1):
            chat._floods.count(Verified(user, 0.0))
    clock.now += WINDOW_S
    for _ in range(FACTOR * LIMIT + 1):
        chat._floods.count(Verified(99, 0.0))

    assert [message[:8] for message in caplog.messages] == ["user 0 s", "user 99 "]
    assert "19 more" in caplog.messages[1]
    assert list(chat._floods._blocked_until) == [("user", 99)]


# --- API keys when users have no limit --------------------------------------------


@pytest.fixture
def keys(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token names a user and perhaps an API key, and only the key has a limit."""
    values = dataclasses.replace(conf.get(), messages_per_minute=0)
    monkeypatch.setattr(conf, "get", lambda: values)

    async def read(call: Any, argument: Any) -> Any:
        user_id, _, key_id = str(argument).partition(":")
        return Verified(int(user_id), time.time() + 60)._replace(
            key_id=int(key_id) if key_id else None,
            messages_per_minute=LIMIT if key_id else None,
        )

    monkeypatch.setattr(visitors, "read_database", read)


@pytest.mark.usefixtures("keys")
async def test_an_api_key_that_floods_is_disconnected_for_a_while(
    server: Server, clock: Clock, caplog
) -> None:
    """Its questions are refused one by one, but not without end."""
    peer, wire, answer = await joined(server, {"token": "1:7"})
    await send(peer, wire, FACTOR * LIMIT + 2, ASK)

    assert wire.is_closed
    refusals = [one for one in told(wire, ERROR) if one[1] == "rate_limited"]
    number = (FACTOR - 1) * LIMIT + 1
    assert refusals == [(f"s{LIMIT + n}", "rate_limited") for n in range(number)]
    assert "API key 7 sent far more than the limit" in caplog.text
    for pid in ({}, {"pid": answer["pid"]}):
        error = await refused_token(server, {"token": "1:7", **pid})
        assert error["data"] == {"code": "rate_limited", "retryAfter": BLOCK_S}
    # Its user is not blocked, nor another key.
    for bearer in ("1", "1:8"):
        peer, wire, _ = await joined(server, {"token": bearer})
        await send(peer, wire, 1)
        assert not wire.is_closed
    clock.now += BLOCK_S
    _, _, back = await joined(server, {"token": "1:7", "pid": answer["pid"]})
    assert back == answer


# --- Sockets ----------------------------------------------------------------------


async def test_a_user_has_no_more_sockets_than_the_setting_says(
    server: Server, chat: Chat
) -> None:
    sockets = [await ann(server) for _ in range(MOST)]

    error = await refused(server, ANN)

    assert error["data"] == {"code": "too_many_sockets", "retryAfter": 5}
    await joined(server, {"token": token(BOB)})
    peer, wire, _ = sockets[0]
    peer.receive_frame(wire, "41")
    await turns()
    await ann(server)
    assert len(chat.sockets) == MOST + 1


async def test_a_forged_token_is_not_told_how_many_sockets_its_user_has(
    server: Server,
) -> None:
    for _ in range(MOST):
        await ann(server)
    peer, wire = await opened(server, "websocket")

    forged = {"token": "forged" + token(ANN)}
    peer.receive_frame(wire, connect_packet("/", forged))
    await turns()

    assert json.loads(wire.told[0][2:])["data"] == {"code": "token_invalid"}


@pytest.mark.parametrize("is_found", [True, False], ids=["heard", "awaited"])
async def test_an_absent_socket_makes_room(
    server: Server, chat: Chat, is_found: bool
) -> None:
    sockets = [await ann(server) for _ in range(MOST)]
    for peer, wire, _ in sockets[:2]:
        peer.lose_websocket(wire)
    await turns()
    busy, idle = chat.absent
    if is_found:
        busy.data.running[object()] = None
    else:
        busy.data.awaited = Awaited(marked={"abcdefgh": 1})

    await ann(server)

    assert chat.absent == [busy]
    assert len(chat.sockets_in("user:1")) == MOST
    assert idle not in chat.sockets_in("user:1")


@pytest.mark.parametrize(
    ("busy", "goes"), [("", 0), ("0", 1), ("02", 1), ("12", 0), ("012", 0)]
)
async def test_the_oldest_makes_room_if_possible_of_those_that_await_nothing(
    server: Server, chat: Chat, busy: str, goes: int
) -> None:
    for peer, wire, _ in [await ann(server) for _ in range(MOST)]:
        peer.lose_websocket(wire)
    await turns()
    absent = chat.absent
    for number in map(int, busy):
        absent[number].data.running[object()] = None

    await ann(server)

    assert chat.absent == absent[:goes] + absent[goes + 1 :]


async def coming(server: Server, chat: Chat) -> tuple[Wire, Socket]:
    """Return a socket of Ann's that another worker has handed over."""
    elsewhere = Chat(Clock())
    await joined(serving(elsewhere), {"token": token(ANN)})
    state = elsewhere.move_out(elsewhere.sockets[0], "there")
    _, wire, _ = await joined(server, {"token": token(BOB)})
    [socket] = chat.sockets_in(room_of(BOB))
    socket.leave(room_of(BOB))
    socket.join(room_of(ANN))
    chat.move_in(socket, state)
    await turns()
    return wire, socket


async def test_a_socket_that_moves_in_is_counted(server: Server, chat: Chat) -> None:
    for _ in range(MOST - 1):
        await ann(server)
    _, let_in = await coming(server, chat)
    assert let_in.connected

    wire, _ = await coming(server, chat)

    assert errors(wire) == ["too_many_sockets"]
    assert wire.told[-1] == "41"
    assert len(chat.sockets_in(room_of(ANN))) == MOST


async def test_an_absent_socket_makes_room_for_one_that_moves_in(
    server: Server, chat: Chat
) -> None:
    sockets = [await ann(server) for _ in range(MOST)]
    peer, wire, _ = sockets[0]
    peer.lose_websocket(wire)
    await turns()

    _, let_in = await coming(server, chat)

    assert let_in.connected
    assert chat.absent == []


INFINITE = "eyJ1c2VyX2lkIjoxZTk5OX0"  # {"user_id":1e999}


@pytest.mark.parametrize(
    "text",
    [
        *(None, 5, "", "a", "a.b", "a.!.c", "a.W10.c", "a.bnVsbA.c", "a." + "W" * 9999),
        f"a.{INFINITE}.c",
    ],
)
def test_a_token_that_names_nobody(text: object) -> None:
    assert claimed_user(text) is None
    assert floods.claimed_user(token(7)) == 7
