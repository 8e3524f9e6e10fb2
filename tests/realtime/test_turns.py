"""Turns on the event loop: what is done immediately, and what waits."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import pytest

from llmchat.realtime import Namespace
from llmchat.realtime import turns as module
from llmchat.realtime.turns import turns
from tests.support.peers import opened, serving
from tests.support.peers import turns as let_all_run
from tests.support.wire import connect_packet

MANY = 50


async def passes_of(entered: list[float]) -> list[int]:
    """Return how many tasks entered in each pass of the event loop."""
    passes = []
    while len(entered) < MANY:
        before = len(entered)
        await asyncio.sleep(0)
        passes.append(len(entered) - before)
    return passes


async def enter_and_work(entered: list[float], seconds: float) -> None:
    await turns().come_or_go()
    work(entered, seconds)


def work(entered: list[float], seconds: float) -> None:
    entered.append(time.perf_counter())
    while time.perf_counter() < entered[-1] + seconds:
        pass


async def test_what_is_short_is_done_in_one_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PASS_S", 60.0)
    entered: list[float] = []
    tasks = [asyncio.create_task(enter_and_work(entered, 0)) for _ in range(MANY)]

    assert max(await passes_of(entered)) == MANY
    await asyncio.gather(*tasks)


async def test_what_makes_a_pass_long_is_done_in_turns() -> None:
    entered: list[float] = []
    tasks = [
        asyncio.create_task(enter_and_work(entered, module.PASS_S)) for _ in range(MANY)
    ]

    passes = await passes_of(entered)
    # Twice as many may be let in before the length of a pass is known.
    assert max(passes) <= 2 * module.AT_THE_DOOR
    assert passes[-4:-1] == [module.AT_THE_DOOR] * 3
    await asyncio.gather(*tasks)


async def test_of_short_turns_a_pass_has_some_and_of_long_ones_one() -> None:
    turned: list[float] = []
    for _ in range(MANY):
        turns().call(partial(turned.append, 0.0))
    assert 1 < max(await passes_of(turned)) <= module.MOST_IN_PASS

    turned.clear()
    for _ in range(MANY):
        turns().call(partial(work, turned, module.PASS_S))
    assert (await passes_of(turned))[-10:] == [1] * 10


async def test_nobody_who_comes_overtakes_those_who_wait_at_the_door(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turned: list[str] = []
    turns().call(partial(turned.append, "first"), at_the_door=True)
    monkeypatch.setattr(module, "PASS_S", 60.0)

    await turns().come_or_go()
    assert turned == ["first"]
    assert turns().is_door_free


async def test_a_new_pass_has_time_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PASS_S", 0.0)
    assert not turns().has_time
    assert not turns().has_time
    monkeypatch.setattr(module, "PASS_S", 60.0)
    assert not turns().has_time
    await asyncio.sleep(0)

    assert turns().has_time


async def test_whoever_gives_up_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PASS_S", 0.0)
    entered: list[float] = []
    tasks = [asyncio.create_task(enter_and_work(entered, 0)) for _ in range(2 * MANY)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()

    async with asyncio.timeout(10):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert len(entered) == MANY


async def test_those_who_are_connected_wait_for_no_crowd_at_the_door() -> None:
    """Both queues get as much time, however many wait in each."""
    turned: list[str] = []
    for _ in range(MANY):
        turns().call(partial(turned.append, "door"), at_the_door=True)
    for _ in range(3):
        turns().call(partial(turned.append, "inside"))

    expected = ["inside", *["door"] * module.AT_THE_DOOR] * 3
    for _ in range(3):
        await asyncio.sleep(0)

    assert turned[: len(expected)] == expected
    await let_all_run()


async def test_a_turn_that_fails_holds_nobody_up() -> None:
    loop = asyncio.get_running_loop()
    failed: list[Any] = []
    loop.set_exception_handler(lambda _, context: failed.append(context["exception"]))
    turned: list[str] = []
    turns().call(partial(int, "no number"))
    turns().call(partial(turned.append, "next"))

    for _ in range(2):
        await asyncio.sleep(0)

    assert turned == ["next"]
    assert [type(exc) for exc in failed] == [ValueError]


async def test_clients_that_come_all_at_once_join_in_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PASS_S", 0.0)
    lobby = Namespace()
    server = serving(lobby)
    clients = [await opened(server, "websocket") for _ in range(MANY)]

    for peer, wire in clients:
        peer.receive_frame(wire, connect_packet("/", None))
    joined = []
    while len(lobby.sockets) < MANY:
        before = len(lobby.sockets)
        await asyncio.sleep(0)
        joined.append(len(lobby.sockets) - before)

    assert max(joined) == module.AT_THE_DOOR
    await let_all_run()
    for _, wire in clients:
        assert str(wire.told[-1]).startswith("40")
    server.shutdown()
