"""What clients get while something outside the server is away, and how soon."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import socketio

from tests.support.live import Account, LiveServer
from tests.support.stock_client import StockClient, connected_client

OK = "ok"
MODEL = {"provider": "openai", "model": "scenario-endless"}


@dataclass(frozen=True, slots=True)
class Cell:
    """The answer to one request, and the seconds that it took."""

    outcome: str
    seconds: float


async def timed(asking: Awaitable[str]) -> Cell:
    """Ask, and take the time."""
    began = time.monotonic()
    outcome = await asking
    return Cell(outcome, round(time.monotonic() - began, 2))


class Visitor:
    """A user with an open socket and an answer that is being written."""

    def __init__(
        self, server: LiveServer, account: Account, client: StockClient
    ) -> None:
        self.server, self.account, self.client = server, account, client
        self.http = httpx.AsyncClient(base_url=server.url, timeout=60)
        self._turns = 0

    async def measure(self, *names: str) -> dict[str, Cell]:
        """Do several things at the same moment; name them as the table does."""
        asked = {name: getattr(self, name.replace(" ", "_"))() for name in names}
        cells = await asyncio.gather(*(timed(asking) for asking in asked.values()))
        return dict(zip(asked, cells, strict=True))

    async def new_socket(self) -> str:
        """Connect as a client that comes now."""
        client = socketio.AsyncClient(reconnection=False)
        refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        client.on("connect_error", lambda data=None: refused.set_result(data))
        try:
            await client.connect(
                self.server.url,
                auth={"token": self.account.access},
                transports=["websocket"],
                wait_timeout=60,
            )
        except socketio.exceptions.ConnectionError:
            return str((await refused)["data"]["code"])
        finally:
            await client.disconnect()
            if client.eio.http is not None:
                await client.eio.http.close()
        return OK

    async def turn(self) -> str:
        """Start an answer on the open socket."""
        self._turns += 1
        return await self.start(f"turn-{self._turns}-{time.monotonic()}")

    async def start(self, session_id: str, text: str = "Hi", **fields: Any) -> str:
        """Start an answer under this name."""
        message = {"role": "user", "content": text}
        payload = {"sessionId": session_id, "messages": [message], **MODEL, **fields}
        [answer] = await self.client.call("llm:chat:stream", payload)
        return OK if answer["ok"] else str(answer["code"])

    async def cancel(self, session_id: str = "running") -> str:
        """Cancel an answer that is being written."""
        [answer] = await self.client.call(
            "llm:stream:cancel", {"sessionId": session_id}
        )
        return OK if answer["ok"] else str(answer["code"])

    async def rest(self) -> str:
        """Ask what providers there are."""
        headers = self.account.headers
        return _outcome(await self.http.get("/llm/providers", headers=headers))

    async def rest_turn(self) -> str:
        """Ask for a whole answer."""
        body = {"provider": "openai", "messages": [{"role": "user", "content": "Hi"}]}
        headers = self.account.headers
        return _outcome(await self.http.post("/llm/chat", json=body, headers=headers))

    async def log_in(self, password: str | None = None) -> str:
        """Ask for tokens."""
        return _outcome(
            await self.http.post(
                "/auth/token",
                json={
                    "username": self.account.username,
                    "password": password or self.account.password,
                },
            )
        )

    async def admin(self) -> str:
        """Log in to the admin."""
        page = await self.http.get("/admin/login/")
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token, page.text
        form = {
            "username": self.account.username,
            "password": self.account.password,
            "csrfmiddlewaretoken": token[1],
        }
        answer = await self.http.post("/admin/login/", data=form)
        if answer.status_code == 503:
            assert answer.headers["Retry-After"]
            return "database_unavailable"
        return OK if answer.status_code in (200, 302) else str(answer.status_code)

    async def until_well(self, limit_s: float) -> float:
        """Start turns until one is taken; return how long that was."""
        began = time.monotonic()
        async with asyncio.timeout(limit_s):
            while True:
                if await self.turn() == OK:
                    return time.monotonic() - began
                await asyncio.sleep(0.1)


def _outcome(answer: httpx.Response) -> str:
    if answer.status_code in (200, 201):
        return OK
    if answer.status_code == 503:
        assert int(answer.headers["Retry-After"]) >= 1
    return str(answer.json()["code"])


@asynccontextmanager
async def visitor(server: LiveServer, account: Account) -> AsyncIterator[Visitor]:
    """Yield a user whose answer `running` has begun."""
    async with connected_client(server.url, account.access) as client:
        someone = Visitor(server, account, client)
        try:
            assert await someone.start("running") == OK
            await client.event("llm:stream:token", "running")
            yield someone
        finally:
            await someone.http.aclose()


@contextmanager
def suspended(pid: int) -> Iterator[None]:
    """Suspend a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    family = [pid, *map(int, children.split())]
    for number in family:
        os.kill(number, signal.SIGSTOP)
    try:
        yield
    finally:
        for number in family:
            os.kill(number, signal.SIGCONT)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the lock of SQLite's writers."""
    opened = sqlite3.connect(database, timeout=20, isolation_level=None)
    with closing(opened) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
