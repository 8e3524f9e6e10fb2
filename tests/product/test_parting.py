"""What a client missed while it was away survives a planned stop of its worker."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import StartServer
from tests.product.test_relay import LIMIT_S, Session, ask, events_in, text_of
from tests.support.provider_lab import ThreadedEmulator, emulated, environment
from tests.support.redis_server import RedisServer

STATE = """SELECT state FROM llmchat_message
    WHERE session_id = 'unheard' AND role = 'assistant'"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedEmulator]:
    with emulated() as emulator:
        yield emulator


@pytest.mark.parametrize("kind", ["uvicorn", "daphne"])
async def test_an_answer_that_began_while_its_client_was_away_is_not_lost(
    start_server: StartServer,
    upstream: ThreadedEmulator,
    redis_server: RedisServer,
    kind: str,
) -> None:
    """The client asks, reads nothing more, and its worker is deployed away."""
    env = environment(upstream, REDIS_URL=redis_server.url)
    first = start_server(kind, env)
    env["DATABASE_URL"] = f"sqlite:///{first.database}"
    second = start_server(kind, env)
    async with httpx.AsyncClient(timeout=LIMIT_S) as http:
        session = Session(http, first.account())
        await session.open(first)
        joined = await session.join(first)
        await session.post(first, ask("unheard"), ask("refused", provider="unheard-of"))
        async with asyncio.timeout(LIMIT_S):
            while first.rows(STATE) != [("complete",)]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        first.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(first.process.wait, LIMIT_S)

        again = Session(http, session.account)
        await again.open(second)
        auth = {"pid": joined["pid"], "offset": None}
        assert await again.join(second, auth=auth) == joined
        async with asyncio.timeout(LIMIT_S):
            while len(ends_in(again)) < 2:
                await again.poll(second)
    events = events_in(again.packets)
    assert [event[0] for event in events].count("llm:stream:start") == 1
    ends = {"llm:stream:done": "unheard", "llm:stream:error": "refused"}
    assert ends_in(again) == ends
    [full] = [event[1]["fullResponse"] for event in events if event[0].endswith("done")]
    assert text_of(events) == full != ""
    for server in (first, second):
        assert "Traceback" not in server.log_text(), server.log_text()[-3000:]


def ends_in(session: Session) -> dict[str, str]:
    events = events_in(session.packets)
    kinds = ("llm:stream:done", "llm:stream:error")
    return {name: data["sessionId"] for name, data, *_ in events if name in kinds}
