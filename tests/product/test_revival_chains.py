"""A client gets its socket back even if one worker after another is killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.conftest import StartServer
from tests.product.test_relay import (
    LIMIT_S,
    Session,
    ask,
    events_in,
    polled_until_end,
    text_of,
)
from tests.support.live import LiveServer
from tests.support.provider_lab import ThreadedEmulator, emulated, environment
from tests.support.redis_server import RedisServer

ENDLESS = {"provider": "openai", "model": "scenario-endless"}
STORED = "SELECT state, content FROM llmchat_message WHERE session_id = ?"
# How long before the second worker is killed each client comes to it.
BEFORE_S = (2.0, 0.5, 0.1, 0.03, 0.0)


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedEmulator]:
    with emulated() as emulator:
        yield emulator


@pytest.fixture
def workers(
    start_server: StartServer, upstream: ThreadedEmulator, redis_server: RedisServer
) -> Iterator[list[LiveServer]]:
    """Four workers of one installation."""
    env = environment(upstream, REDIS_URL=redis_server.url)
    first = start_server("uvicorn", env)
    env["DATABASE_URL"] = f"sqlite:///{first.database}"
    started = [first, *(start_server("uvicorn", env) for _ in range(3))]
    yield started
    for server in started:
        assert "Traceback" not in server.log_text(), server.log_text()[-3000:]


async def kill(server: LiveServer) -> None:
    server.process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(server.process.wait, LIMIT_S)


class Tab:
    """A client that comes back to one worker after another, and what it receives."""

    def __init__(self, http: httpx.AsyncClient, session: Session) -> None:
        self._http = http
        self.session = session
        self.known: dict[str, Any] = {}
        self._before: list[list[Any]] = []

    @property
    def events(self) -> list[list[Any]]:
        return self._before + events_in(self.session.packets)

    @property
    def ends(self) -> list[list[Any]]:
        names = ("llm:stream:start", "llm:stream:token")
        return [event for event in self.events if event[0] not in names]

    async def begin(self, server: LiveServer, *packets: str) -> None:
        """Join a worker, and receive the beginning of an answer."""
        await self.session.open(server)
        self.known = await self.session.join(server)
        await self.session.post(server, *packets)
        while not text_of(self.events):
            await self.session.poll(server)

    async def come(self, server: LiveServer, after_s: float = 0.0) -> None:
        """Come back to a worker, which must have the same socket."""
        await asyncio.sleep(after_s)
        self._before = self.events
        auth = {"pid": self.known["pid"], "offset": self._before[-1][-1]}
        self.session = Session(self._http, self.session.account)
        await self.session.open(server)
        joined = await self.session.join(server, auth=auth)
        assert joined == self.known

    async def upgrade(self, server: LiveServer) -> None:
        """Take the session along to another worker, and receive some more there."""
        session = self.session
        url = session.url(server, sid=session.sid, transport="websocket")
        async with connect(url.replace("http", "ws", 1), max_size=None) as websocket:
            await websocket.send("2probe")
            assert await websocket.recv() == "3probe"
            # A client pauses after the next response, whether it has text or a NOOP.
            await session.poll(server)
            await websocket.send("5")
            for _ in range(3):
                session.packets.append(str(await websocket.recv()))


@pytest.fixture
async def tabs(workers: list[LiveServer]) -> Any:
    account = workers[0].account()
    async with httpx.AsyncClient(timeout=LIMIT_S) as http:
        yield [Tab(http, Session(http, account)) for _ in range(len(BEFORE_S))]


async def test_a_second_worker_may_be_killed_at_any_moment(
    workers: list[LiveServer], tabs: list[Tab]
) -> None:
    first, second, third, _ = workers
    for number, tab in enumerate(tabs):
        await tab.begin(first, ask(f"killed {number}", **ENDLESS))
    await kill(first)
    # The first client to come waits until the worker finds out that the other one is
    # gone; the others need not.
    await tabs[0].come(second)
    later = zip(tabs[1:], BEFORE_S[1:], strict=True)
    comes = [asyncio.create_task(tab.come(second, 2 - s)) for tab, s in later]
    await asyncio.sleep(2.0)
    await kill(second)
    await asyncio.gather(*comes, return_exceptions=True)
    await asyncio.gather(*(tab.come(third) for tab in tabs))

    for number, tab in enumerate(tabs):
        if not tab.ends:
            await polled_until_end(tab.session, third)
        assert len(tab.ends) == 1, tab.ends
        [(name, end, *_)] = tab.ends
        [(state, stored)] = first.rows(STORED, f"killed {number}")
        assert (name, end["code"]) == ("llm:stream:error", "interrupted")
        assert state == "interrupted"
        # A worker that is killed early may have stored no text.
        assert end.get("partialResponse", "") == stored
        assert text_of(tab.events).startswith(stored)


async def test_an_answer_of_a_worker_that_lives_goes_on_behind_two_that_do_not(
    workers: list[LiveServer], tabs: list[Tab]
) -> None:
    first, second, third, fourth = workers
    asked, attached = tabs[:2]
    await asked.begin(fourth, ask("lives", **ENDLESS))
    attach = '420["llm:stream:attach",{"sessionId":"lives"}]'
    await attached.begin(first, attach)
    await kill(first)
    await attached.come(second)
    # The session moves with its upgrade, and its next worker is killed as well.
    await attached.upgrade(third)
    await kill(third)
    await attached.come(fourth)

    await attached.session.post(fourth, '42["llm:stream:cancel",{"sessionId":"lives"}]')
    for tab in (asked, attached):
        await polled_until_end(tab.session, fourth)
        assert len(tab.ends) == 1, tab.ends
        [(name, end, *_)] = tab.ends
        assert name == "llm:stream:cancelled"
        assert end["partialResponse"].endswith(text_of(tab.events))
    [(state, stored)] = first.rows(STORED, "lives")
    assert (state, stored) == ("cancelled", end["partialResponse"])
