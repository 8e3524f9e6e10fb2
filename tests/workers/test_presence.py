"""Workers that ask who else is there, and tell that they leave."""

from __future__ import annotations

import asyncio
import time

import pytest

from llmchat.workers import GoneError, Presence, address_of
from tests.workers.test_mailbox import OpenBox, layer, open_box

__all__ = ["layer", "open_box"]
ONE, TWO, THREE = address_of("one"), address_of("two"), address_of("three")


async def test_one_that_is_alone_finds_nobody(open_box: OpenBox) -> None:
    assert not await Presence(await open_box(ONE)).has_others()


async def test_one_that_stays_is_found_and_one_that_leaves_is_not(
    open_box: OpenBox,
) -> None:
    one, two = Presence(await open_box(ONE)), Presence(await open_box(TWO))
    await asyncio.sleep(0.2)  # until both listen
    assert await one.has_others()
    assert not await two.has_others()
    Presence(await open_box(THREE))
    await asyncio.sleep(0.2)
    assert await two.has_others()


async def test_whoever_asks_one_that_has_left_hears_so_at_once(
    open_box: OpenBox,
) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    leaving = Presence(one)
    Presence(two)

    async def hold(sender: str, body: object) -> None:
        await asyncio.Event().wait()

    one.on("hold", hold)
    await asyncio.sleep(0.2)
    held = two.ask(ONE, "hold")
    await asyncio.sleep(0.1)
    started = time.monotonic()
    await leaving.leave()
    with pytest.raises(GoneError):
        await held
    with pytest.raises(GoneError):
        await two.ask(ONE, "hold")
    assert time.monotonic() - started < 1.0
