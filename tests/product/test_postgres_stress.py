"""Many clients on PostgreSQL at once: nothing deadlocks, nothing that was told is lost.

One round is part of the suite; `LLMCHAT_TEST_STRESS_ROUNDS` asks for more of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import socketio

from tests.emulator.api import Api, Story
from tests.emulator.application import APIS
from tests.emulator.request import Request
from tests.emulator.response import Pause, Response, Step
from tests.postgres import seed_postgres
from tests.support import live
from tests.support.provider_lab import emulated, environment

ROUNDS = int(os.environ.get("LLMCHAT_TEST_STRESS_ROUNDS", "1"))
CLIENTS = 60
ROUND_S = 15.0 if ROUNDS > 1 else 10.0
LIMIT_S = 30
ENDS = ("llm:stream:done", "llm:stream:error", "llm:stream:cancelled")


def tell_slowly(request: Request, number: int) -> Response:
    """Answer with some 20 pieces in about a second."""
    api: Api = APIS["openai"]
    api.model_of(request)
    question = request.body["messages"][-1]["content"]
    *text, finish, usage, terminator = api.events(
        Story(tuple(f"{question}-{n} " for n in range(20)))
    )
    steps: list[Step] = []
    for event in text:
        steps += [Pause(0.04), event]
    return Response([*steps, finish, usage, terminator])


class Client:
    """A user who asks one thing after another on one socket."""

    def __init__(self, server: live.LiveServer, account: live.Account) -> None:
        self.ends: list[tuple[str, dict[str, Any]]] = []
        self.waits: list[float] = []
        self._server, self._account = server, account
        self._events: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self._socket = socketio.AsyncClient(reconnection=False, request_timeout=LIMIT_S)
        for name in ("llm:stream:start", "llm:stream:token", *ENDS):
            self._socket.on(name, self._heard(name))
        self._socket.on("disconnect", self._lost)

    def _heard(self, name: str) -> Callable[..., None]:
        # Behind the data comes the offset that a recovery begins at.
        return lambda data, *offset: self._events.put_nowait((name, data))

    def _lost(self, *reason: object) -> None:
        self._events.put_nowait(("lost", {}))

    async def connect(self) -> None:
        await self._socket.connect(
            self._server.url,
            auth={"token": self._account.access},
            transports=["websocket"],
            wait_timeout=LIMIT_S,
        )

    async def run(self) -> None:
        """Go on until the server is gone."""
        try:
            history: list[dict[str, str]] = []
            for number in range(1000):
                name, data = await self._ask(number, history)
                if name == "lost":
                    return
                self.ends.append((name, data))
                text = data.get("fullResponse") or data.get("partialResponse", "")
                history.append({"role": "assistant", "content": text})
                if number % 4 == 3:
                    history.clear()
        except socketio.exceptions.SocketIOError:
            return  # the server was killed as something was said
        finally:
            await self._socket.disconnect()

    async def _ask(
        self, number: int, history: list[dict[str, str]]
    ) -> tuple[str, dict[str, Any]]:
        question = f"{self._account.username}-{self._server.port}-{number}"
        history.append({"role": "user", "content": question})
        body = {"sessionId": question, "provider": "openai", "messages": history}
        await self._socket.emit("llm:chat:stream", body)
        last_token = None
        while True:
            name, data = await self._events.get()
            if name == "llm:stream:token":
                last_token = time.monotonic()
            if name == "llm:stream:done" and last_token is not None:
                self.waits.append(time.monotonic() - last_token)
            if name == "lost" or name in ENDS:
                return name, data


@contextmanager
def operator(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Let an operator stop and delete things, as on another worker."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.operator"],
        env={**live.environment(live.ROOT), "DATABASE_URL": url},
        cwd=live.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def log_of(url: str) -> str:
    [(directory,)] = rows(url, "SHOW data_directory")
    return Path(directory, "log").read_text()


def give_a_budget(url: str) -> None:
    """Let all users draw on one budget that none of them can exhaust."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO auth_group (name) VALUES ('everybody');"
            "INSERT INTO accounts_user_groups (user_id, group_id)"
            " SELECT u.id, g.id FROM accounts_user u, auth_group g;"
            'INSERT INTO llmchat_budget (group_id, period, unit, "limit", '
            "period_start, spent) SELECT id, 'day', 'tokens', 100000000000, "
            "current_date, 0 FROM auth_group;"
            "DELETE FROM llmchat_revision"
        )


@pytest.fixture(scope="module")
def accounts(postgres: str) -> tuple[live.Account, ...]:
    made = seed_postgres(postgres, users=CLIENTS)
    give_a_budget(postgres)
    return made


@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", range(ROUNDS))
async def test_what_was_told_is_stored_and_nothing_deadlocks(
    postgres: str,
    accounts: Sequence[live.Account],
    start_server: Callable[..., live.LiveServer],
    number: int,
) -> None:
    with emulated(tell_slowly) as upstream, operator(postgres) as stopping:
        env = {**environment(upstream), "DATABASE_URL": postgres}
        server = start_server("uvicorn", env)
        clients = [Client(server, account) for account in accounts]
        for client in clients:
            await client.connect()
        tasks = [asyncio.create_task(client.run()) for client in clients]
        await asyncio.wait(tasks, timeout=ROUND_S)
        async with asyncio.timeout(LIMIT_S):
            await enough(clients)
        asked, _ = await asyncio.to_thread(stopping.communicate)
        server.process.kill()
        server.process.wait()
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*tasks)
    ends = [end for client in clients for end in client.ends]
    asked_for = json.loads(asked)
    deleted = set(asked_for["deleted"])

    assert log_of(postgres).count("deadlock detected") == 0
    assert [data for name, data in ends if name == "llm:stream:error"] == []
    for name, data in ends:
        if name == "llm:stream:cancelled":
            is_stopped = data["messageId"] in asked_for["stopped"]
            assert is_stopped or data["conversationId"] in deleted
    told = [data for name, data in ends if name == "llm:stream:done"]
    assert lost(postgres, told, deleted) == []
    report(clients)


def lost(url: str, told: list[dict[str, Any]], deleted: set[str]) -> list[str]:
    """Return the answers that were told as done and are not stored whole."""
    query = "SELECT id::text, state, content FROM llmchat_message WHERE state <> ''"
    stored = {ident: (state, text) for ident, state, text in rows(url, query)}
    return [
        data["messageId"]
        for data in told
        if data["conversationId"] not in deleted
        and stored.get(data["messageId"]) != ("complete", data["fullResponse"])
    ]


def counts_of(clients: list[Client]) -> Counter[str]:
    return Counter(name for client in clients for name, _ in client.ends)


async def enough(clients: list[Client]) -> None:
    """Wait until enough has happened, which takes longer on a busy machine."""
    while True:
        counts = counts_of(clients)
        if counts["llm:stream:done"] > 100 and counts["llm:stream:cancelled"] > 10:
            return
        await asyncio.sleep(0.1)


def report(clients: list[Client]) -> None:
    """Print how it went; how fast says something on an idle machine alone."""
    waits = [wait for client in clients for wait in client.waits]
    p95 = statistics.quantiles(waits, n=20)[-1]
    counts = dict(counts_of(clients))
    print(f"\n{counts}, last token to done p95 {p95 * 1000:.0f} ms")
