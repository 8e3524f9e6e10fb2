"""What is left of answers whose server is killed while it writes them.

The promise is that no more than one second of text is lost. `make stress` tests it on a
machine that does nothing else. Beside other tests, which use the processors and the
disk, the server gets its turns late, and four seconds are allowed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import httpx
import pytest

from tests.emulator.application import emulator
from tests.support import live
from tests.support.databases import Database
from tests.support.stress import STRESSED

STREAMS = 50
OTHERS = 5
AT_RISK_S = 1.0 if STRESSED else 4.0
OLD_S = 2 * AT_RISK_S
ANSWERS = (
    "SELECT session_id, state, content FROM llmchat_message "
    "WHERE role = 'assistant' AND session_id <> ''"
)


class Reader:
    """Reads an answer as server-sent events; `texts` has its text at each moment."""

    def __init__(self, server: live.LiveServer, account: live.Account) -> None:
        self._server, self._account = server, account
        self.texts: list[tuple[float, str]] = [(0.0, "")]
        self.session_id = ""
        self.has_text = asyncio.Event()
        self._more = asyncio.Event()

    def text_at(self, moment: float) -> str:
        return next(text for when, text in reversed(self.texts) if when <= moment)

    async def until(self, is_true: Callable[[Reader], object]) -> None:
        """Wait until enough text has arrived for a condition to hold."""
        while not is_true(self):
            self._more.clear()
            await self._more.wait()

    async def read(self, client: httpx.AsyncClient) -> None:
        try:
            async with aclosing(self._data(client)) as events:
                async for data in events:
                    self.session_id = data["sessionId"]
                    text = self.texts[-1][1] + data.get("token", "")
                    self.texts.append((time.monotonic(), text))
                    if text:
                        self.has_text.set()
                    self._more.set()
        except httpx.HTTPError:
            return  # its server was killed

    async def _data(self, client: httpx.AsyncClient) -> AsyncIterator[dict]:
        body = {
            "provider": "openai",
            "model": "scenario-endless",
            "messages": [{"role": "user", "content": f"Tell me {id(self)}"}],
            "stream": True,
        }
        async with client.stream(
            "POST",
            f"{self._server.url}/llm/chat",
            json=body,
            headers=self._account.headers,
        ) as response:
            assert response.status_code == 200
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))


@pytest.mark.timeout(240)
async def test_a_killed_server_leaves_every_answer_as_it_was_just_before(
    database: Database,
) -> None:
    limits = httpx.Limits(max_connections=None)
    async with (
        emulator() as upstream,
        httpx.AsyncClient(limits=limits, timeout=60) as client,
    ):
        env = {
            "OPENAI_API_KEY": "sk-proj-live-0123456789",
            "OPENAI_BASE_URL": f"{upstream.url}/v1",
            "LLMCHAT_MESSAGES_PER_MINUTE": "0",
            "LLMCHAT_MAX_STREAMS_PER_USER": str(STREAMS),
        }
        account, another = next(database.accounts), next(database.accounts)
        killed = database.start_server(env)
        readers = [Reader(killed, account) for _ in range(STREAMS)]
        elsewhere = database.start_server(env)
        others = [Reader(elsewhere, another) for _ in range(OTHERS)]
        tasks = [
            asyncio.create_task(reader.read(client)) for reader in [*readers, *others]
        ]
        async with asyncio.timeout(60):
            for reader in (*readers, *others):
                await reader.has_text.wait()
            # Some of the text must be stored, and some of it more than once.
            for reader in readers:
                await reader.until(lambda r: r.text_at(time.monotonic() - OLD_S))

        killed_at = time.monotonic()
        killed.process.kill()
        killed.process.wait()
        await asyncio.wait(tasks[:STREAMS])
        database.start_server(env)

        stored = {name: (state, text) for name, state, text in database.rows(ANSWERS)}
        by_state = defaultdict(set)
        for name, (state, _) in stored.items():
            by_state[state].add(name)
        assert by_state == {
            "interrupted": {reader.session_id for reader in readers},
            "streaming": {reader.session_id for reader in others},
        }
        for reader in readers:
            safe = reader.text_at(killed_at - AT_RISK_S)
            assert safe
            assert stored[reader.session_id][1].startswith(safe)

        for task in tasks[STREAMS:]:
            task.cancel()
        await asyncio.wait(tasks)
