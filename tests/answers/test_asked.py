"""An answer that ends before its provider has received the request is free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest

from accounts.models import User
from llmchat.answers import runtime
from llmchat.answers.answer import start_answer
from llmchat.books.turn import Turn
from llmchat.database import in_database
from llmchat.errors import refusal
from llmchat.models import Provider
from llmchat.providers.http.pool import PooledTransport
from tests.emulator.driver import full_listener
from tests.support.access import booked
from tests.support.buffers import connecting
from tests.support.chat_fixtures import registered, until
from tests.support.upstream import Upstream

MakeTurn = Callable[..., Turn]


@pytest.fixture(params=["cancelled", "cut off"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def end_where(
    user: User, turn: Turn, waits: Callable[[], bool], how: str
) -> None:
    """End an answer as soon as `waits` returns True, and wait until that is stored."""

    async def is_there() -> bool:
        return waits()

    with registered(user, turn) as stream:
        start_answer(turn, stream)
        await until(is_there)
        if how == "cancelled":
            stream.cancel()
        else:
            stream.interrupt(refusal("draining"))
        await stream.ended.wait()


@contextmanager
def deaf(provider: Provider) -> Iterator[Callable[[], bool]]:
    """Let nothing answer at the provider's address; yield a check for connections."""
    with full_listener() as address:
        port = int(address.partition(":")[2])
        others = connecting(port)
        provider.base_url = f"http://{address}/v1"
        yield lambda: connecting(port) > others


async def test_while_it_connects(
    user: User, provider: Provider, upstream: Upstream, turn: MakeTurn, how: str
) -> None:
    with deaf(provider) as waits:
        await in_database(provider.save)
        await end_where(user, turn("x" * 400), waits, how)
    assert await booked() == {(0, 0, Decimal(0))}


async def test_while_it_waits_for_a_place(
    user: User, provider: Provider, upstream: Upstream, turn: MakeTurn, how: str
) -> None:
    http = runtime.get().client._transport
    assert isinstance(http, PooledTransport)
    http._places = asyncio.Semaphore(0)

    def waits() -> bool:
        return bool(http._places._waiters)

    await end_where(user, turn("x" * 400), waits, how)
    assert await booked() == {(0, 0, Decimal(0))}
    assert not upstream.requests
