"""The timer that interrupts a wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace

import pytest
import uvloop

from llmchat.providers.errors import ProviderTimeoutError
from llmchat.providers.watchdog import DeadlinePassedError, Watchdog
from tests.emulator.driver import PATIENT, lab

# The production server's loop is stricter with timers than asyncio's own.
LOOPS = pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop]
)
NewLoop = Callable[[], asyncio.AbstractEventLoop]


async def test_a_wait_beyond_the_deadline_is_interrupted() -> None:
    watchdog = Watchdog()
    watchdog.deadline = watchdog.now() + 0.01
    with pytest.raises(DeadlinePassedError), watchdog:
        await asyncio.Event().wait()


async def test_a_deadline_already_past_interrupts_too() -> None:
    watchdog = Watchdog()
    watchdog.deadline = watchdog.now() - 1
    with pytest.raises(DeadlinePassedError), watchdog:
        await asyncio.Event().wait()


async def test_the_task_is_not_left_cancelled() -> None:
    watchdog = Watchdog()
    watchdog.deadline = watchdog.now()
    with pytest.raises(DeadlinePassedError), watchdog:
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    await asyncio.sleep(0)


async def test_a_deadline_moved_on_is_kept() -> None:
    watchdog = Watchdog()
    start = watchdog.now()
    watchdog.deadline = start + 0.01
    event = asyncio.Event()

    def move() -> None:
        watchdog.deadline = start + 0.05

    asyncio.get_running_loop().call_soon(move)
    with pytest.raises(DeadlinePassedError), watchdog:
        await event.wait()
    assert watchdog.now() >= start + 0.05


async def test_a_deadline_moved_nearer_is_kept_from_the_next_wait() -> None:
    watchdog = Watchdog()
    watchdog.deadline = watchdog.now() + 3600
    with watchdog:
        await asyncio.sleep(0)
    watchdog.deadline = watchdog.now() + 0.01
    with pytest.raises(DeadlinePassedError), watchdog:
        await asyncio.Event().wait()


async def test_nobody_is_interrupted_between_waits() -> None:
    watchdog = Watchdog()
    watchdog.deadline = watchdog.now() + 0.01
    with watchdog:
        await asyncio.sleep(0)
    await asyncio.sleep(0.03)  # the time is what is tested
    watchdog.deadline = watchdog.now() + 3600
    with watchdog:
        await asyncio.sleep(0)
    watchdog.close()


async def test_a_cancellation_by_others_stays_one() -> None:
    watchdog = Watchdog()
    watchdog.deadline = watchdog.now() + 3600

    async def wait() -> None:
        with watchdog:
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    watchdog.close()


@LOOPS
def test_waits_shorter_than_a_timer_may_be_are_interrupted(new_loop: NewLoop) -> None:
    async def wait_often() -> None:
        watchdog = Watchdog()
        watchdog.deadline = watchdog.now() + 0.0004
        while True:
            with watchdog:
                await asyncio.sleep(0)

    with pytest.raises(DeadlinePassedError):
        run(new_loop, wait_often)


@LOOPS
def test_a_wait_begun_behind_the_deadline_fails_though_nothing_delays_it(
    new_loop: NewLoop,
) -> None:
    async def read() -> None:
        watchdog = Watchdog()
        watchdog.deadline = watchdog.now()
        for _ in range(2):
            with pytest.raises(DeadlinePassedError), watchdog:
                pass

    run(new_loop, read)


@LOOPS
@pytest.mark.parametrize("busy_s", [0.0, 0.06, 0.3])
def test_the_total_limit_passes_while_the_consumer_is_busy(
    new_loop: NewLoop, busy_s: float
) -> None:
    async def consume() -> None:
        limits = replace(PATIENT, total_s=0.2)
        async with lab() as setting:
            answer = setting.stream("openai", "endless", timeouts=limits)
            async with aclosing(answer) as events:
                async for _ in events:
                    await asyncio.sleep(busy_s)

    with pytest.raises(ProviderTimeoutError):
        run(new_loop, consume)


def run(new_loop: NewLoop, main: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a coroutine on its own loop."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
