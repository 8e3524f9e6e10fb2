"""A client that leaves closes the provider's connection, whenever it leaves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import aclosing, suppress

import pytest

from llmchat.providers.types import Delta, Provider
from tests.emulator.driver import APIS, Lab, NewTransport, full_listener, lab
from tests.emulator.request import Request
from tests.emulator.scenarios import SHORT
from tests.support.buffers import connecting

BOTH_WAYS = True
BOTH_LOOPS = True
SOON_S = 15.0  # on a machine that may stall; the next deadline is 30 s away
CANCELS = int(os.environ.get("LLMCHAT_TEST_CANCELS", "2000"))


# When everything before the silence has been sent.
SILENT: dict[str, Callable[[Request], bool]] = {
    "slow-headers": lambda request: True,
    "slow-first": lambda request: request.status > 0,
    "comments-only": lambda request: request.sent_bytes > 0,
    "silence": lambda request: request.sent_bytes > 0,
}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await turns()


async def turns() -> None:
    """Let everything in the sockets be read, and all tasks run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def consume(
    setting: Lab, api: str, scenario: str, provider: Provider | None = None
) -> None:
    stream = setting.stream(api, scenario, provider=provider)
    async with aclosing(stream) as events:
        async for _ in events:
            pass


async def cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def assert_hung_up(setting: Lab, since: float) -> None:
    """Check that the emulator soon saw the client give up the one open request."""
    server = setting.server
    await server.until(lambda: not server.open_requests)
    request = server.requests[-1]
    assert request.hung_up
    assert request.ended_at - since < SOON_S


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("scenario", SILENT)
async def test_a_cancelled_task_hangs_up(setting: Lab, api: str, scenario: str) -> None:
    task = asyncio.create_task(consume(setting, api, scenario))
    await until(lambda: any(map(SILENT[scenario], setting.server.requests)))
    await turns()
    since = asyncio.get_running_loop().time()
    await cancel(task)
    await assert_hung_up(setting, since)


@pytest.mark.parametrize("api", APIS)
async def test_a_closed_generator_hangs_up_in_mid_stream(
    setting: Lab, api: str
) -> None:
    stream = setting.stream(api, "endless")
    assert isinstance(await anext(stream), Delta)
    since = asyncio.get_running_loop().time()
    await stream.aclose()
    await assert_hung_up(setting, since)


async def test_a_cancel_while_connecting_ends_at_once(
    new_transport: NewTransport,
) -> None:
    with full_listener() as address:
        async with lab(new_transport=new_transport) as setting:
            provider = setting.provider("openai", base_url=f"http://{address}")
            port = int(address.partition(":")[2])
            others = connecting(port)
            task = asyncio.create_task(consume(setting, "openai", "short", provider))
            await until(lambda: connecting(port) > others)
            since = asyncio.get_running_loop().time()
            await cancel(task)
            assert asyncio.get_running_loop().time() - since < SOON_S


async def test_a_cancel_while_queueing_ends_at_once_and_frees_the_place(
    new_transport: NewTransport,
) -> None:
    async with lab(max_connections=1, new_transport=new_transport) as setting:
        busy = asyncio.create_task(consume(setting, "openai", "slow-first"))
        await setting.server.until(lambda: bool(setting.server.requests))
        queued = asyncio.create_task(consume(setting, "openai", "slow-first"))
        await turns()  # there is no event to wait for
        since = asyncio.get_running_loop().time()
        await cancel(queued)
        assert asyncio.get_running_loop().time() - since < SOON_S
        assert len(setting.server.requests) == 1
        await cancel(busy)
        outcome = await setting.ask("openai", "short")
    assert outcome.text == SHORT.text


async def test_a_cancel_while_waiting_to_retry_ends_at_once(setting: Lab) -> None:
    task = asyncio.create_task(consume(setting, "openai", "empty-500"))
    await setting.server.until(
        lambda: bool(setting.server.requests) and not setting.server.open_requests
    )
    await cancel(task)
    assert len(setting.server.requests) == 1


async def test_cancels_leave_no_place_taken(new_transport: NewTransport) -> None:
    """Many cancels in all phases, through a pool of few connections."""
    places = 20
    scenarios = ("slow-headers", "slow-first", "endless", "short", "silence")
    async with lab(max_connections=places, new_transport=new_transport) as setting:

        async def one(number: int) -> None:
            scenario = scenarios[number % len(scenarios)]
            task = asyncio.create_task(consume(setting, APIS[number % 4], scenario))
            await asyncio.sleep((number % 7) / 1000)  # each at a different moment
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        for start in range(0, CANCELS, 50):
            batch = range(start, min(start + 50, CANCELS))
            await asyncio.gather(*(one(number) for number in batch))
        async with asyncio.timeout(30):
            outcomes = await asyncio.gather(
                *(setting.ask("openai", "comments-first") for _ in range(places))
            )
        await setting.server.until(lambda: not setting.server.open_requests)
    assert all(outcome.text == SHORT.text for outcome in outcomes)
