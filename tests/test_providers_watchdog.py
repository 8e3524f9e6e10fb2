"""The timer that interrupts a wait."""

from __future__ import annotations

import asyncio

import pytest

from llmchat.providers.watchdog import DeadlinePassedError, Watchdog


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
