"""Attaching in the middle of an answer, at random: nothing twice, nothing missing.

In the suite there are 100 attachments; `LLMCHAT_TEST_ATTACHMENTS` asks for more.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import ONE_SERVER
from tests.support import live
from tests.support.attaching import LIMIT_S, Heard, Page, page
from tests.support.upstream import Step, Upstream

ATTACHMENTS = int(os.environ.get("LLMCHAT_TEST_ATTACHMENTS", "100"))
TABS = 10  # of one user, besides the page that asks and is reloaded
PARTS = 200
# How long the provider pauses between a few tokens and the next few.
PACE_S = 0.01

pytestmark = [
    ONE_SERVER,
    pytest.mark.usefixtures("unmeasured"),
    pytest.mark.timeout(300),
]


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
        """Wait until the provider reaches a random gate before the last token."""
        await random.choice(self._gates[:-1]).wait()

    async def run(self, attaching: Awaitable[object]) -> None:
        """Let the provider write; its last token waits until all have attached."""
        for gate in self._gates[:-1]:
            await asyncio.sleep(PACE_S)
            gate.set()
        await attaching
        self._gates[-1].set()


@dataclass(frozen=True, slots=True)
class Kind:
    """How many users have how many answers at the same time, and of which kind."""

    users: int
    answers: int
    padding: str = ""
    is_sleepy: bool = False


MANY = Kind(users=4, answers=4)
# Some clients lag so far behind that their tokens are merged.
SLOW = Kind(users=1, answers=2, padding="." * 1500, is_sleepy=True)


class Household:
    """One user's answers, the page that asks for them, and the pages that attach."""

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
        """Wait for the ends, and for anything that might arrive after them."""
        for tab in self.pages:
            for start in self._starts:
                async with asyncio.timeout(LIMIT_S):
                    await tab.heard[start["sessionId"]].ended.wait()
                late = await tab.attach(start)
                assert late["ended"]["data"]["fullResponse"] == self._pace.text

    def heard(self) -> list[Heard]:
        """Return what each page received of each answer."""
        # The page that was dropped has received the beginning.
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
    """Let some users attach to their answers; return what they received."""
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
