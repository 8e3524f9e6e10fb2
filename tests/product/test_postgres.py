"""The product on PostgreSQL, through its pool of connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import psycopg
import pytest

from tests.support import live
from tests.support.databases import Cluster
from tests.support.stock_client import connected_client
from tests.support.upstream import Upstream, running_upstream

POOL_SIZE = 2
WAITING = 100
# Those of the server.
CONNECTIONS = (
    "FROM pg_stat_activity WHERE datname = current_database()"
    " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


@pytest.fixture(scope="module")
def accounts(cluster: Cluster) -> Iterator[live.Account]:
    return iter(cluster.accounts)


@pytest.fixture(scope="module")
def port() -> int:
    return live.free_port()


@pytest.fixture
async def upstream(port: int) -> AsyncIterator[Upstream]:
    async with running_upstream(port) as server:
        yield server


@pytest.fixture(scope="module")
def server(
    migrated: str,
    accounts: Iterator[live.Account],
    port: int,
    start_server: Callable[..., live.LiveServer],
) -> live.LiveServer:
    env = {
        "DATABASE_URL": migrated,
        "DATABASE_POOL_SIZE": str(POOL_SIZE),
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "LLMCHAT_MESSAGES_PER_MINUTE": "0",
        "LLMCHAT_MAX_STREAMS_PER_USER": "1000",
    }
    return start_server("uvicorn", env)


def rows(url: str, query: str, *values: object) -> list[tuple]:
    with psycopg.connect(url) as connection:
        return connection.execute(query, values).fetchall()


def stored(url: str, account: live.Account) -> list[tuple]:
    query = """
        SELECT count(DISTINCT c.id), string_agg(m.content, '|' ORDER BY m.position)
        FROM llmchat_conversation c JOIN llmchat_message m ON m.conversation_id = c.id
        WHERE c.user_id = %s
    """
    return rows(url, query, account.user_id)


async def test_three_turns_of_the_stock_client_are_one_conversation(
    server, upstream, migrated, accounts
):
    account = next(accounts)
    history: list[dict[str, str]] = []
    async with connected_client(server.url, account.access) as client:
        for number in range(3):
            history.append({"role": "user", "content": f"question {number}"})
            events = await client.ask(
                f"s-{number}", "", provider="openai", messages=history
            )
            name, done = events[-1]
            assert (name, done["fullResponse"]) == ("llm:stream:done", "Hello")
            history.append({"role": "assistant", "content": done["fullResponse"]})
    said = "|".join(message["content"] for message in history)
    assert stored(migrated, account) == [(1, said)]


async def test_a_cancelled_answer_is_stored_as_far_as_it_came(
    server, upstream, migrated, accounts
):
    account = next(accounts)
    upstream.steps = ("Hel", asyncio.Event())
    async with connected_client(server.url, account.access) as client:
        await client.start("s-1", "Hi", provider="openai")
        await client.event("llm:stream:token", "s-1")
        await client.emit("llm:stream:cancel", {"sessionId": "s-1"})
        cancelled = await client.event("llm:stream:cancelled", "s-1")
    assert cancelled["partialResponse"] == "Hel"
    query = "SELECT state, content FROM llmchat_message WHERE id = %s"
    assert rows(migrated, query, cancelled["messageId"]) == [("cancelled", "Hel")]


async def test_a_hundred_answers_share_two_connections(
    server, upstream, migrated, accounts
):
    """No connection is held while an answer is being written."""
    account = next(accounts)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    body = {"provider": "openai", "messages": [{"role": "user", "content": "Hi"}]}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:
        asked = [
            asyncio.create_task(
                client.post(
                    f"{server.url}/llm/chat", json=body, headers=account.headers
                )
            )
            for _ in range(WAITING)
        ]
        async with asyncio.timeout(60):
            while len(upstream.requests) < WAITING:
                upstream.received.clear()
                await upstream.received.wait()
        assert rows(migrated, f"SELECT count(*) {CONNECTIONS}")[0][0] <= POOL_SIZE
        go.set()
        answers = await asyncio.gather(*asked)
    assert [answer.json()["fullResponse"] for answer in answers] == ["Hello"] * WAITING


async def test_a_database_that_was_restarted_is_used_again_at_once(
    server, upstream, migrated, accounts
):
    account = next(accounts)
    body = {"provider": "openai", "messages": [{"role": "user", "content": "Hi"}]}
    async with httpx.AsyncClient(headers=account.headers, timeout=30) as client:
        for _ in range(3):
            rows(migrated, f"SELECT pg_terminate_backend(pid) {CONNECTIONS}")
            answer = await client.post(f"{server.url}/llm/chat", json=body)
            assert answer.status_code == 200
