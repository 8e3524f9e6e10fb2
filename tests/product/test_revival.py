"""A client gets back its socket, and the end of its answer, if its worker is gone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import StartServer
from tests.product.test_relay import (
    LIMIT_S,
    Session,
    ask,
    events_in,
    polled_until_end,
    text_of,
)
from tests.support.live import LiveServer
from tests.support.provider_lab import ThreadedEmulator, emulated, environment
from tests.support.redis_server import RedisServer

ENDLESS = {"provider": "openai", "model": "scenario-endless"}
PIECES = "SELECT text FROM llmchat_piece"
STORED = "SELECT state, content FROM llmchat_message WHERE session_id = ?"


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedEmulator]:
    with emulated() as emulator:
        yield emulator


async def stopped_in_mid_answer(
    session: Session, server: LiveServer, number: signal.Signals
) -> tuple[dict[str, str], str]:
    """Return what the client will come back with, and the text that it received."""
    await session.open(server)
    joined = await session.join(server)
    await session.post(server, ask("killed", **ENDLESS))
    while not server.rows(PIECES):
        await session.poll(server)
    server.process.send_signal(number)
    await asyncio.to_thread(server.process.wait, LIMIT_S)
    events = events_in(session.packets)
    return {**joined, "offset": events[-1][-1]}, text_of(events)


@pytest.mark.parametrize("has_redis", [False, True], ids=["alone", "redis"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_end_of_an_answer_comes_to_the_same_socket_on_another_worker(
    start_server: StartServer,
    upstream: ThreadedEmulator,
    redis_server: RedisServer,
    number: signal.Signals,
    has_redis: bool,
) -> None:
    env = environment(upstream, LLMCHAT_DRAIN_S="0.5")
    if has_redis:
        env["REDIS_URL"] = redis_server.url
    first = start_server("uvicorn", env)
    env["DATABASE_URL"] = f"sqlite:///{first.database}"
    async with httpx.AsyncClient(timeout=LIMIT_S) as http:
        session = Session(http, first.account())
        known, seen = await stopped_in_mid_answer(session, first, number)
        second = start_server("uvicorn", env)

        again = Session(http, session.account)
        await again.open(second)
        auth = {"pid": known["pid"], "offset": known["offset"]}
        joined = await again.join(second, auth=auth)
        assert joined == {"sid": known["sid"], "pid": known["pid"]}
        events = await polled_until_end(again, second)

        thief = Session(http, first.account())
        await thief.open(second)
        assert (await thief.join(second, auth=auth))["sid"] != known["sid"]

    [(state, stored)] = first.rows(STORED, "killed")
    name, end, *_ = events[-1]
    assert name == "llm:stream:error"
    assert end["code"] == ("interrupted" if number == signal.SIGKILL else "draining")
    assert [event[0] for event in events].count(name) == 1
    assert state == "interrupted"
    # The client has at least all that is stored.
    assert (seen + text_of(events)).startswith(stored)
    assert end["partialResponse"] == stored != ""
    assert "Traceback" not in second.log_text(), second.log_text()[-3000:]
