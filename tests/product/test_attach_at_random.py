"""Attaching in the middle of an answer, at random: nothing twice, nothing missing.

100 attachments are part of the suite; `LLMCHAT_TEST_ATTACHMENTS` asks for more of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.support import live
from tests.support.upstream import Step, Upstream
from tests.support.wire import WebSocket, content_of, event

ATTACHMENTS = int(os.environ.get("LLMCHAT_TEST_ATTACHMENTS", "100"))
TABS = 10  # of one user, beside the page that asks and is loaded anew
PARTS = 200
# How fast the provider writes a few tokens at a time.
PACE_S = 0.01
LIMIT_S = 20
NAMES = ("messageId", "sessionId", "conversationId")

pytestmark = [pytest.mark.usefixtures("unmeasured"), pytest.mark.timeout(300)]


@dataclass(slots=True)
class Heard:
    """What a socket has heard of an answer: the text of its ack, and what follows."""

    text: str = ""
    faults: list[str] = field(default_factory=list)
    start: dict[str, Any] = field(default_factory=dict)
    is_attached: bool = False
    is_merged: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, ack: dict[str, Any]) -> None:
        """Take over the text of an ack; that of a second one is known already."""
        if not ack.get("ok"):
            self.faults.append(f"refused: {ack}")
        elif self.is_attached and ack["text"] != self.text:
            self.faults.append(f"heard …{self.text[-20:]}, told …{ack['text'][-20:]}")
        self.text = ack.get("text", "")
        self.is_attached = True

    def hear(self, name: str, data: dict[str, Any], *, is_owner: bool) -> None:
        """Take an event."""
        if name == "llm:stream:start" and is_owner:
            self.start = data
        elif not (self.is_attached or is_owner):
            self.faults.append(f"{name} came before the ack")
        elif self.ended.is_set():
            self.faults.append(f"{name} came behind the end")
        elif name == "llm:stream:token":
            self.text += data["token"]
            self.is_merged |= data["token"].count(" ") > 1
        else:
            self.ended.set()
            if data.get("fullResponse") != self.text:
                self.faults.append(f"{name} has another text")


class Page:
    """A socket of a user, and what it has heard of that user's answers."""

    def __init__(
        self, socket: WebSocket, *, is_owner: bool = False, is_sleepy: bool = False
    ) -> None:
        self.heard: defaultdict[str, Heard] = defaultdict(Heard)
        self._socket, self._is_owner, self._is_sleepy = socket, is_owner, is_sleepy
        self._calls: dict[int, tuple[asyncio.Future[dict[str, Any]], str]] = {}
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            packet = await self._socket.receive()
            if packet.startswith("42"):
                name, data = content_of(packet)[:2]
                self.heard[data["sessionId"]].hear(name, data, is_owner=self._is_owner)
            else:
                self._take_ack(packet)
            if self._is_sleepy and random.random() < 0.02:
                await asyncio.sleep(random.uniform(0.05, 0.3))

    def _take_ack(self, packet: str) -> None:
        number, bracket, rest = packet.removeprefix("43").partition("[")
        [ack] = json.loads(bracket + rest)
        call, session_id = self._calls.pop(int(number))
        # What follows is behind it, whenever the caller wakes.
        if session_id:
            self.heard[session_id].begin(ack)
        call.set_result(ack)

    async def ask(self, session_id: str) -> None:
        """Ask for an answer; return behind its start."""
        message = {"role": "user", "content": f"Count for {session_id}"}
        body = {"sessionId": session_id, "provider": "openai", "messages": [message]}
        answer = await self._call("llm:chat:stream", body)
        assert answer["ok"], answer

    async def attach(self, start: dict[str, Any]) -> dict[str, Any]:
        """Attach to an answer by one of its three names; return the ack."""
        name = random.choice(NAMES)
        body = {name: start[name]}
        return await self._call("llm:stream:attach", body, start["sessionId"])

    async def _call(
        self, name: str, body: dict[str, Any], session_id: str = ""
    ) -> dict[str, Any]:
        number = random.getrandbits(40)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[dict[str, Any]] = loop.create_future()
        self._calls[number] = answer, session_id
        await self._socket.send(event(name, body, ack_id=number))
        async with asyncio.timeout(LIMIT_S):
            return await answer

    def drop(self) -> None:
        """Cut the connection, as a page does that is loaded anew."""
        self._reading.cancel()
        self._socket.connection.transport.abort()

    async def close(self) -> None:
        """Read no more.

        Raises: what has ended the reading before.
        """
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading


@asynccontextmanager
async def page(
    server: live.LiveServer, account: live.Account, **options: bool
) -> AsyncIterator[Page]:
    """Open a page of a user."""
    url = f"ws://127.0.0.1:{server.port}/socket.io/?EIO=4&transport=websocket"
    async with connect(
        url, max_size=None, compression=None, proxy=None, ping_interval=None
    ) as connection:
        socket = WebSocket(connection)
        await socket.read()
        await socket.join("/", {"token": account.access})
        opened = Page(socket, **options)
        try:
            yield opened
        finally:
            await opened.close()


class Pace:
    """What the provider writes: some tokens, a gate, some tokens, a gate …"""

    def __init__(self, padding: str) -> None:
        self.steps: list[Step] = []
        self._gates: list[asyncio.Event] = []
        for number in range(PARTS):
            if not number or number == PARTS - 1 or random.random() < 0.3:
                self._gates.append(asyncio.Event())
                self.steps.append(self._gates[-1])
            self.steps.append(f"{number}{padding} ")
        self.text = "".join(step for step in self.steps if isinstance(step, str))

    async def is_somewhere(self) -> None:
        """Wait until the provider is at a token in the middle, any of them."""
        await random.choice(self._gates[:-1]).wait()

    async def run(self, attaching: Awaitable[object]) -> None:
        """Let the provider write; its last token waits for those who attach."""
        for gate in self._gates[:-1]:
            await asyncio.sleep(PACE_S)
            gate.set()
        await attaching
        self._gates[-1].set()


@dataclass(frozen=True, slots=True)
class Kind:
    """How many answers of how many users at once, and what they are like."""

    users: int
    answers: int
    padding: str = ""
    is_sleepy: bool = False


MANY = Kind(users=4, answers=4)
# Some clients lag so far that what they are sent is merged.
SLOW = Kind(users=1, answers=2, padding="." * 1500, is_sleepy=True)


class Household:
    """One user's answers, the page that asks for them, and those that attach."""

    def __init__(self, server: live.LiveServer, kind: Kind, pace: Pace) -> None:
        self._server, self._kind, self._pace = server, kind, pace
        self._account = server.account()
        self._stack = AsyncExitStack()
        self._starts: list[dict[str, Any]] = []
        self.pages: list[Page] = []

    async def ask(self) -> None:
        """Open the pages, and ask for the answers."""
        self._owner = await self._open(is_owner=True)
        for _ in range(TABS):
            self.pages.append(await self._open(is_sleepy=self._kind.is_sleepy))
        for number in range(self._kind.answers):
            name = f"s-{number}"
            await self._owner.ask(name)
            self._starts.append(self._owner.heard[name].start)

    async def attach(self) -> None:
        """Attach to each answer on each page, somewhere in the middle."""
        tabs = [(tab, start) for tab in self.pages for start in self._starts]
        attaching = (self._attach(tab, start) for tab, start in tabs)
        await asyncio.gather(self._load_anew(), *attaching)

    async def _attach(self, tab: Page, start: dict[str, Any]) -> None:
        is_again = random.random() < 0.25
        for _ in range(2 if is_again else 1):
            await self._pace.is_somewhere()
            assert "ended" not in await tab.attach(start)

    async def _load_anew(self) -> None:
        await self._pace.is_somewhere()
        self._owner.drop()
        self.pages.append(again := await self._open())
        await asyncio.gather(*(again.attach(start) for start in self._starts))

    async def listen(self) -> None:
        """Wait for the ends, and for whatever might come behind them."""
        for tab in self.pages:
            for start in self._starts:
                async with asyncio.timeout(LIMIT_S):
                    await tab.heard[start["sessionId"]].ended.wait()
                late = await tab.attach(start)
                assert late["ended"]["data"]["fullResponse"] == self._pace.text

    def heard(self) -> list[Heard]:
        """Return what each page has heard of each answer."""
        # The one that was dropped has heard the beginning.
        for heard in self._owner.heard.values():
            assert heard.faults == []
            assert self._pace.text.startswith(heard.text)
        return [heard for tab in self.pages for heard in tab.heard.values()]

    async def close(self) -> None:
        """Close the pages."""
        await self._stack.aclose()

    async def _open(self, **options: bool) -> Page:
        opened = page(self._server, self._account, **options)
        return await self._stack.enter_async_context(opened)


async def attach_to_some(
    server: live.LiveServer, upstream: Upstream, kind: Kind
) -> list[Heard]:
    """Let some users attach to their answers; return what was heard of them."""
    pace = Pace(kind.padding)
    upstream.steps = pace.steps
    households = [Household(server, kind, pace) for _ in range(kind.users)]
    try:
        await asyncio.gather(*(household.ask() for household in households))
        attaching = asyncio.gather(*(household.attach() for household in households))
        await pace.run(attaching)
        await asyncio.gather(*(household.listen() for household in households))
    finally:
        await asyncio.gather(*(household.close() for household in households))
    heard = [one for household in households for one in household.heard()]
    assert [fault for one in heard for fault in one.faults] == []
    assert {one.text for one in heard} == {pace.text}
    return heard


@pytest.fixture(scope="module")
def server_env(upstream_env: dict[str, str]) -> dict[str, str]:
    return {
        **upstream_env,
        "LLMCHAT_MESSAGES_PER_MINUTE": "0",
    }


async def test_the_ack_and_what_follows_it_are_the_answer(
    server: live.LiveServer, live_upstream: Upstream
) -> None:
    attached = 0
    while attached < ATTACHMENTS:
        attached += len(await attach_to_some(server, live_upstream, MANY))


async def test_a_client_that_lags_attaches_to_the_same_text(
    server: live.LiveServer, live_upstream: Upstream
) -> None:
    heard = await attach_to_some(server, live_upstream, SLOW)
    assert any(one.is_merged for one in heard)
