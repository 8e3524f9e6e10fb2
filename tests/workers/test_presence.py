"""Workers that ask which others there are, and announce that they leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

import pytest

from llmchat.workers import GoneError, Mailbox, Presence, address_of, presence, route
from tests.workers.test_mailbox import Lossy, OpenBox, hears_all, layer, open_box

__all__ = ["layer", "open_box"]
_names = count()
Listening = Callable[[], Awaitable[Mailbox]]


@pytest.fixture
def listening(open_box: OpenBox, layer: Lossy) -> Listening:
    """Return what opens a mailbox that receives what is sent to all."""

    async def open_one() -> Mailbox:
        box = await open_box(address_of(str(next(_names))))
        await hears_all(layer, box)
        return box

    return open_one


async def test_one_that_is_alone_finds_nobody(listening: Listening) -> None:
    assert await Presence(await listening()).find_other() is None


async def test_one_that_stays_is_found_and_one_that_leaves_is_not(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = await listening()
    one, two = Presence(await listening()), Presence(box)
    with monkeypatch.context() as patient:
        patient.setattr(presence, "_REPLY_S", 20.0)
        assert await one.find_other() == box.address
    assert await two.find_other() is None
    third = await listening()
    Presence(third)
    monkeypatch.setattr(presence, "_REPLY_S", 20.0)
    assert await two.find_other() == third.address


async def test_whoever_asks_one_that_has_left_hears_so_at_once(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No ask waits until it is considered gone.
    monkeypatch.setattr(route, "GONE_S", 3600.0)
    one, two = await listening(), await listening()
    leaving = Presence(one)
    Presence(two)

    begun = asyncio.Event()

    async def hold(sender: str, body: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    one.on("hold", hold)
    held = two.ask(one.address, "hold")
    await begun.wait()
    await leaving.leave()
    async with asyncio.timeout(20):
        with pytest.raises(GoneError):
            await held
        with pytest.raises(GoneError):
            await two.ask(one.address, "hold")


async def test_nothing_is_kept_of_asks_to_those_that_have_left(
    listening: Listening,
) -> None:
    one = await listening()
    for at in range(10):
        one.give_up(f"{at:011}")
        with pytest.raises(GoneError):
            await one.ask(f"{at:011}", "anything")
    assert one._asks == {}
