"""When the client reports that a provider is asked: not before the request leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from llmchat.providers.client import ProviderClient
from llmchat.providers.errors import ProviderError
from llmchat.providers.http.pool import PooledTransport
from tests.emulator.driver import KEY, PATIENT, chat, full_listener
from tests.support.buffers import connecting
from tests.support.provider_script import Script, provider
from tests.support.provider_script import ScriptedTransport as Scripted
from tests.support.provider_sockets import (
    LIMIT_S,
    Peer,
    sockets,
    transport,
)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that no event reports."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await turn()


async def turn() -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def asking(
    http: PooledTransport | Scripted, url: str = "http://unused"
) -> AsyncIterator[tuple[asyncio.Task[None], list[bool]]]:
    """Ask for an answer that is cancelled in the end; yield what `on_asking` got."""
    told: list[bool] = []
    client = ProviderClient(PATIENT, transport=http)

    async def consume() -> None:
        async for _ in client.stream_chat(
            provider("openai", base_url=url), [KEY], chat("m"), on_asking=told.append
        ):
            pass

    task = asyncio.create_task(consume())
    try:
        yield task, told
    finally:
        task.cancel()
        await asyncio.wait([task])


def waits_for_a_place(http: PooledTransport) -> bool:
    return any(not waiter.done() for waiter in http._places._waiters or ())


async def test_who_waits_for_a_place_has_not_asked() -> None:
    async with sockets(Peer.read_request) as served, transport(1) as http:
        await http._places.acquire()
        async with asking(http, served.url) as (_, told):
            await until(lambda: waits_for_a_place(http))
        http._places.release()
        assert told == []
        assert served.peers == []


async def test_who_connects_has_not_asked() -> None:
    with full_listener() as address:
        port = int(address.partition(":")[2])
        others = connecting(port)
        async with transport() as http:
            async with asking(http, f"http://{address}") as (_, told):
                await until(lambda: connecting(port) > others)
            assert told == []


async def test_who_has_sent_a_request_has_asked_though_nothing_has_come() -> None:
    async def say_nothing(peer: Peer) -> None:
        await peer.read_request()
        received.set()
        await peer.until_closed()

    received = asyncio.Event()
    async with sockets(say_nothing) as served, transport() as http:
        async with asking(http, served.url) as (_, told):
            await received.wait()
        assert told == [True]


async def test_a_second_attempt_that_waits_for_its_connection_has_not_asked() -> None:
    """The first attempt had asked, and failed."""

    async def drop(peer: Peer) -> None:
        await peer.read_request()
        others.append(asyncio.create_task(http._places.acquire()))
        await until(lambda: waits_for_a_place(http))

    others: list[asyncio.Task[bool]] = []
    async with sockets(drop) as served, transport(1) as http:
        async with asking(http, served.url) as (_, told):
            await until(lambda: bool(others) and others[0].done())
            await until(lambda: waits_for_a_place(http))
        http._places.release()
        assert told == [True, False]
        assert len(served.peers) == 1


FAILURES: list[tuple[Script, list[bool]]] = [
    (Script(status=400), [True, False]),
    (Script(status=503), [True, False] * 3),
]


@pytest.mark.parametrize(("script", "expected"), FAILURES, ids=["final", "retried"])
async def test_each_attempt_tells(script: Script, expected: list[bool]) -> None:
    async with asking(Scripted([script])) as (task, told):
        with pytest.raises(ProviderError):
            await task
        assert told == expected
