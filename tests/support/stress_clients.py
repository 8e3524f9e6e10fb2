"""Users who ask one question after another, over sockets and REST, until the end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import httpx
import socketio

from tests.support.live import Account, LiveServer

LIMIT_S = 30
DONE, ERROR, CANCELLED = (f"llm:stream:{end}" for end in ("done", "error", "cancelled"))
TOKEN = "llm:stream:token"
ENDS = (DONE, ERROR, CANCELLED)
LOST = "lost"
TURNS = 4  # in a conversation; its user then deletes every other conversation

Event = tuple[str, dict[str, Any]]


class Client:
    """A user with one answer at a time.

    `ends` are the ends of the answers as received, `waits` the seconds between the last
    token and `done`, `deleted` the conversations that the user has asked to delete.
    """

    def __init__(
        self, server: LiveServer, account: Account, http: httpx.AsyncClient
    ) -> None:
        self.ends: list[Event] = []
        self.waits: list[float] = []
        self.deleted: set[str] = set()
        self._server, self._account, self._http = server, account, http

    async def connect(self) -> None:
        """Connect, which REST has no need for."""

    async def run(self) -> None:
        """Ask until the server is gone."""
        try:
            history: list[dict[str, str]] = []
            for number in range(1000):
                name, data = await self._ask(self._turn(number, history))
                if name == LOST:
                    return
                self.ends.append((name, data))
                text = data.get("fullResponse") or data.get("partialResponse", "")
                history.append({"role": "assistant", "content": text})
                if number % TURNS == TURNS - 1:
                    history.clear()
                    if number // TURNS % 2:
                        await self._delete(data["conversationId"])
        except (socketio.exceptions.SocketIOError, httpx.TransportError):
            return  # the server was killed during an exchange
        finally:
            await self._leave()

    def _turn(self, number: int, history: list[dict[str, str]]) -> dict[str, Any]:
        question = f"{self._account.username}-{self._server.port}-{number}"
        history.append({"role": "user", "content": question})
        return {"sessionId": question, "provider": "openai", "messages": history}

    async def _delete(self, ident: str) -> None:
        path = f"/llm/conversations/{ident}"
        # Noted early: the server may be killed between its COMMIT and the response.
        self.deleted.add(ident)
        response = await self._http.delete(path, headers=self._account.headers)
        # An operator may have deleted it first.
        assert response.status_code in (204, 404), response.text

    async def _ask(self, turn: dict[str, Any]) -> Event:
        """Return how the answer ends."""
        last_token = None
        async with aclosing(self._events(turn)) as events:
            async for name, data in events:
                if name == TOKEN:
                    last_token = time.monotonic()
                if name == DONE and last_token is not None:
                    self.waits.append(time.monotonic() - last_token)
                if name == LOST or name in ENDS:
                    return name, data
        return LOST, {}

    async def _events(self, turn: dict[str, Any]) -> AsyncIterator[Event]:
        raise NotImplementedError
        yield

    async def _leave(self) -> None:
        """Release what the client holds."""


class SocketClient(Client):
    """Asks over one socket."""

    def __init__(
        self, server: LiveServer, account: Account, http: httpx.AsyncClient
    ) -> None:
        super().__init__(server, account, http)
        self._heard: asyncio.Queue[Event] = asyncio.Queue()
        self._socket = socketio.AsyncClient(reconnection=False, request_timeout=LIMIT_S)
        for name in ("llm:stream:start", TOKEN, *ENDS):
            self._socket.on(name, self._hear(name))
        self._socket.on("disconnect", lambda *_: self._heard.put_nowait((LOST, {})))

    def _hear(self, name: str) -> Callable[..., None]:
        # The data is followed by the offset from which a recovery would start.
        return lambda data, *offset: self._heard.put_nowait((name, data))

    async def connect(self) -> None:
        await self._socket.connect(
            self._server.url,
            auth={"token": self._account.access},
            transports=["websocket"],
            wait_timeout=LIMIT_S,
        )

    async def _events(self, turn: dict[str, Any]) -> AsyncIterator[Event]:
        await self._socket.emit("llm:chat:stream", turn)
        while True:
            yield await self._heard.get()

    async def _leave(self) -> None:
        await self._socket.disconnect()


class EventStreamClient(Client):
    """Asks over REST, for server-sent events."""

    async def _events(self, turn: dict[str, Any]) -> AsyncIterator[Event]:
        async with self._http.stream(
            "POST",
            "/llm/chat",
            json=turn | {"stream": True},
            headers=self._account.headers,
        ) as response:
            if response.status_code != 200:
                await response.aread()
                yield ERROR, response.json()
            name = ""
            async for line in response.aiter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield name, json.loads(value)


class WholeClient(Client):
    """Asks over REST, for whole answers."""

    async def _events(self, turn: dict[str, Any]) -> AsyncIterator[Event]:
        response = await self._http.post(
            "/llm/chat", json=turn, headers=self._account.headers
        )
        data = response.json()
        code = data.get("code")
        yield {None: DONE, "cancelled": CANCELLED}.get(code, ERROR), data


# Two of three are on a socket.
KINDS: tuple[type[Client], ...] = (
    SocketClient,
    EventStreamClient,
    SocketClient,
    SocketClient,
    WholeClient,
    SocketClient,
)
