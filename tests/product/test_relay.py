"""One session whose requests go to two workers; the test chooses one for each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import cycle
from typing import Any, NamedTuple

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.conftest import StartServer
from tests.support.live import Account, LiveServer
from tests.support.provider_lab import ThreadedEmulator, emulated, environment
from tests.support.redis_server import RedisServer

SLOW = {"provider": "openai", "model": "scenario-trickle"}
QUERY = {"EIO": "4", "transport": "polling"}
LIMIT_S = 30.0
ENDS = ("llm:stream:done", "llm:stream:error", "llm:stream:cancelled")


class Pair(NamedTuple):
    """Two workers of one installation."""

    one: LiveServer
    two: LiveServer


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedEmulator]:
    with emulated() as emulator:
        yield emulator


@pytest.fixture(scope="module", params=["uvicorn", "daphne"])
def pair(
    request: pytest.FixtureRequest,
    start_server: StartServer,
    redis: RedisServer,
    upstream: ThreadedEmulator,
) -> Iterator[Pair]:
    more = {"REDIS_URL": redis.url, "LLMCHAT_METRICS_TOKEN": "scrape"}
    shared = environment(upstream, **more)
    one = start_server(request.param, shared)
    shared["DATABASE_URL"] = f"sqlite:///{one.database}"
    two = start_server(request.param, shared)
    yield Pair(one, two)
    for server in (one, two):
        assert "Traceback" not in server.log_text(), server.log_text()[-5000:]


class Session:
    """A polling client that chooses the worker of each request."""

    def __init__(self, http: httpx.AsyncClient, account: Account) -> None:
        self.http = http
        self.account = account
        self.sid = ""
        self.packets: list[str] = []

    def url(self, server: LiveServer, **more: str) -> str:
        query = httpx.QueryParams({**QUERY, **more})
        return f"{server.url}/socket.io/?{query}"

    async def open(self, server: LiveServer) -> None:
        response = await self.http.get(self.url(server))
        self.sid = json.loads(response.text[1:])["sid"]

    async def post(self, server: LiveServer, *packets: str) -> None:
        body = "\x1e".join(packets)
        response = await self.http.post(self.url(server, sid=self.sid), content=body)
        assert (response.status_code, response.text) == (200, "ok")

    async def poll(self, server: LiveServer) -> list[str]:
        response = await self.http.get(self.url(server, sid=self.sid))
        assert response.status_code == 200, response.text
        packets = response.text.split("\x1e")
        self.packets += packets
        return packets

    async def join(self, *servers: LiveServer, auth: Any = None) -> dict[str, Any]:
        token = {"token": self.account.access, **(auth or {})}
        await self.post(servers[0], f"40{json.dumps(token)}")
        # What a returning client has missed may be in the same payload.
        packet, *_ = await self.poll(servers[-1])
        assert packet.startswith("40"), packet
        answer: dict[str, Any] = json.loads(packet[2:])
        return answer


def events_in(packets: list[str]) -> list[list[Any]]:
    return [json.loads(packet[2:]) for packet in packets if packet.startswith("42")]


def text_of(events: list[list[Any]]) -> str:
    return "".join(
        event[1]["token"] for event in events if event[0] == "llm:stream:token"
    )


def ask(session_id: str, **fields: Any) -> str:
    data = {
        "sessionId": session_id,
        "messages": [{"role": "user", "content": "Go"}],
        **SLOW,
        **fields,
    }
    return f"42{json.dumps(['llm:chat:stream', data])}"


@pytest.fixture
async def session(pair: Pair) -> Any:
    async with httpx.AsyncClient(timeout=LIMIT_S) as http:
        session = Session(http, pair.one.account())
        yield session
        # So that the next test finds no session.
        await http.post(session.url(pair.one, sid=session.sid), content="1")


async def test_polls_and_posts_may_come_to_any_worker(
    pair: Pair, session: Session
) -> None:
    await session.open(pair.one)
    await session.join(pair.two, pair.two)
    await session.post(pair.two, ask("polls"))
    servers = cycle(pair)
    async with asyncio.timeout(LIMIT_S):
        while not (events := events_in(session.packets)) or events[-1][0] not in ENDS:
            if "2" in await session.poll(next(servers)):
                await session.post(pair.two, "3")
    assert_whole(events)


async def test_sessions_that_are_relayed_are_counted(
    pair: Pair, session: Session
) -> None:
    await session.open(pair.one)
    assert await relayed(session.http, pair.one) == 0
    await session.join(pair.two)
    assert await relayed(session.http, pair.one) == 1
    async with upgraded(session, pair.two) as websocket:
        # The session moves before the event is answered.
        await websocket.send('420["llm:stream:attach",{"sessionId":"nothing"}]')
        assert str(await websocket.recv()).startswith("430[")
        assert await relayed(session.http, pair.one) == 0


async def relayed(http: httpx.AsyncClient, server: LiveServer) -> int:
    headers = {"Authorization": "Bearer scrape"}
    text = (await http.get(f"{server.url}/metrics", headers=headers)).text
    [line] = [x for x in text.splitlines() if x.startswith("llmchat_sessions_relayed ")]
    return int(float(line.split()[1]))


async def test_a_websocket_takes_its_session_along(
    pair: Pair, session: Session
) -> None:
    await session.open(pair.one)
    await session.join(pair.one)
    async with upgraded(session, pair.two) as websocket:
        await websocket.send(ask("upgrade"))
        events = await events_until_end(websocket)
    assert_whole(events)


async def test_an_unknown_session_of_a_worker_that_is_or_was_is_told(
    pair: Pair, session: Session
) -> None:
    await session.open(pair.one)
    another = session.sid[:-1] + ("y" if session.sid.endswith("x") else "x")
    for sid in (another, "AAAAAAAAAAA" + session.sid[11:], "nonsense"):
        for server in pair:
            response = await session.http.get(session.url(server, sid=sid))
            assert (response.status_code, response.json()["code"]) == (400, 1)


async def test_a_lost_poll_ends_the_session(pair: Pair, session: Session) -> None:
    await session.open(pair.one)
    await session.join(pair.two)
    await lose_poll(session, pair.two)
    async with asyncio.timeout(LIMIT_S):
        while True:
            response = await session.http.post(
                session.url(pair.one, sid=session.sid), content="3"
            )
            # A post that is open when the session ends is answered without a reason.
            if response.status_code == 400 and b'"code":1' in response.content:
                break


async def lose_poll(session: Session, server: LiveServer) -> None:
    """Hang up on a poll that the worker holds."""
    sent = asyncio.Event()

    async def trace(name: str, info: dict[str, Any]) -> None:
        if name == "http11.receive_response_headers.started":
            sent.set()

    url = session.url(server, sid=session.sid)
    asking = session.http.get(url, extensions={"trace": trace})
    held = asyncio.create_task(asking)
    await sent.wait()
    await asyncio.sleep(0.2)
    held.cancel()


async def test_two_polls_at_once_on_two_workers_end_the_session(
    pair: Pair, session: Session
) -> None:
    await session.open(pair.one)
    await session.join(pair.two)
    polls = [
        asyncio.create_task(session.http.get(session.url(server, sid=session.sid)))
        for server in pair
    ]
    statuses = {(await poll).status_code for poll in polls}
    assert 400 in statuses


async def test_a_client_comes_back_to_the_other_worker(
    pair: Pair, session: Session
) -> None:
    await session.open(pair.one)
    joined = await session.join(pair.one)
    async with httpx.AsyncClient(timeout=LIMIT_S) as http:
        again = Session(http, session.account)
        await again.open(pair.two)
        answer = await again.join(pair.two, auth={"pid": joined["pid"]})
        assert answer == joined
        # And back again, to the worker that handed it over.
        third = Session(http, session.account)
        await third.open(pair.one)
        assert await third.join(pair.two, auth={"pid": joined["pid"]}) == joined


async def test_an_answer_goes_on_where_its_socket_moves_to(
    pair: Pair, session: Session
) -> None:
    await session.open(pair.one)
    await session.join(pair.one)
    await session.post(pair.one, ask("moving"))
    while not text_of(events_in(session.packets)):
        await session.poll(pair.one)
    async with upgraded(session, pair.two) as websocket:
        later = await events_until_end(websocket)
    assert_whole(events_in(session.packets) + later)


async def test_an_answer_goes_on_for_a_client_that_comes_back_elsewhere(
    pair: Pair, session: Session
) -> None:
    await session.open(pair.one)
    joined = await session.join(pair.one)
    await session.post(pair.one, ask("back"))
    while not text_of(events_in(session.packets)):
        await session.poll(pair.one)
    events = events_in(session.packets)
    async with httpx.AsyncClient(timeout=LIMIT_S) as http:
        again = Session(http, session.account)
        await again.open(pair.two)
        auth = {"pid": joined["pid"], "offset": events[-1][-1]}
        assert await again.join(pair.two, auth=auth) == joined
        assert_whole(events + await polled_until_end(again, pair.two))


def assert_whole(events: list[list[Any]]) -> None:
    names = [event[0] for event in events]
    assert names.count("llm:stream:start") == 1
    assert names[-1] == "llm:stream:done", events[-1]
    assert names.count("llm:stream:done") == 1
    assert text_of(events) == events[-1][1]["fullResponse"] != ""


async def polled_until_end(session: Session, server: LiveServer) -> list[list[Any]]:
    async with asyncio.timeout(LIMIT_S):
        while True:
            if "2" in await session.poll(server):
                await session.post(server, "3")
            events = events_in(session.packets)
            if events and events[-1][0] in ENDS:
                return events


async def test_a_foreign_pid_is_of_no_use(pair: Pair, session: Session) -> None:
    await session.open(pair.one)
    joined = await session.join(pair.one)
    async with httpx.AsyncClient(timeout=LIMIT_S) as http:
        thief = Session(http, pair.one.account())
        await thief.open(pair.two)
        answer = await thief.join(pair.two, auth={"pid": joined["pid"]})
    assert answer["pid"] != joined["pid"]
    assert answer["sid"] != joined["sid"]


class upgraded:  # noqa: N801 - a context manager
    """The WebSocket that a session has upgraded to."""

    def __init__(self, session: Session, server: LiveServer) -> None:
        self._session = session
        url = session.url(server, sid=session.sid, transport="websocket")
        self._connecting = connect(url.replace("http", "ws", 1), max_size=None)
        self._server = server

    async def __aenter__(self) -> ClientConnection:
        websocket = await self._connecting.__aenter__()
        held = asyncio.create_task(self._session.poll(self._server))
        await websocket.send("2probe")
        assert await websocket.recv() == "3probe"
        packets = await held
        # Or a token that arrived before the probe has answered the poll.
        assert packets == ["6"] or events_in(packets)
        await websocket.send("5")
        return websocket

    async def __aexit__(self, *exc: Any) -> None:
        await self._connecting.__aexit__(*exc)


async def events_until_end(websocket: ClientConnection) -> list[list[Any]]:
    packets: list[str] = []
    async with asyncio.timeout(LIMIT_S):
        while True:
            frame = str(await websocket.recv())
            if frame == "2":
                await websocket.send("3")
            packets.append(frame)
            events = events_in(packets)
            if events and events[-1][0] in ENDS:
                return events
