"""Sockets that attach to answers, and note what they receive that they should not."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import connect

from tests.support import live
from tests.support.wire import WebSocket, content_of, event

LIMIT_S = 20
NAMES = ("messageId", "sessionId", "conversationId")


@dataclass(slots=True)
class Heard:
    """What a socket received of an answer: the text of its ack, and what followed."""

    text: str = ""
    faults: list[str] = field(default_factory=list)
    start: dict[str, Any] = field(default_factory=dict)
    is_attached: bool = False
    is_merged: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, ack: dict[str, Any]) -> None:
        """Take the text of an ack; the text of a second ack must be known already."""
        if not ack.get("ok"):
            self.faults.append(f"refused: {ack}")
        elif self.is_attached and ack["text"] != self.text:
            self.faults.append(f"heard …{self.text[-20:]}, told …{ack['text'][-20:]}")
        self.text = ack.get("text", "")
        self.is_attached = True

    def hear(self, name: str, data: dict[str, Any], *, is_owner: bool) -> None:
        """Take an event of the answer."""
        if name == "llm:stream:start" and is_owner:
            self.start = data
        elif not (self.is_attached or is_owner):
            self.faults.append(f"{name} came before the ack")
        elif self.ended.is_set():
            self.faults.append(f"{name} came behind the end")
        elif name == "llm:stream:token":
            self.text += data["token"]
            self.is_merged |= data["token"].count(" ") > 1
        else:
            self.ended.set()
            if data.get("fullResponse") != self.text:
                self.faults.append(f"{name} has another text")


class Page:
    """A socket of a user, and what it received of that user's answers."""

    def __init__(
        self, socket: WebSocket, *, is_owner: bool = False, is_sleepy: bool = False
    ) -> None:
        self.heard: defaultdict[str, Heard] = defaultdict(Heard)
        self._socket, self._is_owner, self._is_sleepy = socket, is_owner, is_sleepy
        self._calls: dict[int, tuple[asyncio.Future[dict[str, Any]], str]] = {}
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            packet = await self._socket.receive()
            if packet.startswith("42"):
                name, data = content_of(packet)[:2]
                self.heard[data["sessionId"]].hear(name, data, is_owner=self._is_owner)
            else:
                self._take_ack(packet)
            if self._is_sleepy and random.random() < 0.02:
                await asyncio.sleep(random.uniform(0.05, 0.3))

    def _take_ack(self, packet: str) -> None:
        number, bracket, rest = packet.removeprefix("43").partition("[")
        [ack] = json.loads(bracket + rest)
        call, session_id = self._calls.pop(int(number))
        # Done here, so that it precedes later events whenever the caller wakes.
        if session_id:
            self.heard[session_id].begin(ack)
        call.set_result(ack)

    async def ask(self, session_id: str) -> None:
        """Ask for an answer; return once its start is acknowledged."""
        message = {"role": "user", "content": f"Count for {session_id}"}
        body = {"sessionId": session_id, "provider": "openai", "messages": [message]}
        answer = await self._call("llm:chat:stream", body)
        assert answer["ok"], answer

    async def attach(self, start: dict[str, Any]) -> dict[str, Any]:
        """Attach to an answer by one of its three names; return the ack."""
        name = random.choice(NAMES)
        body = {name: start[name]}
        return await self._call("llm:stream:attach", body, start["sessionId"])

    async def _call(
        self, name: str, body: dict[str, Any], session_id: str = ""
    ) -> dict[str, Any]:
        number = random.getrandbits(40)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[dict[str, Any]] = loop.create_future()
        self._calls[number] = answer, session_id
        await self._socket.send(event(name, body, ack_id=number))
        async with asyncio.timeout(LIMIT_S):
            return await answer

    def drop(self) -> None:
        """Cut the connection, as a page does when it is reloaded."""
        self._reading.cancel()
        self._socket.connection.transport.abort()

    async def close(self) -> None:
        """Stop reading.

        Raises: whatever ended the reading earlier.
        """
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading


@asynccontextmanager
async def page(
    server: live.LiveServer, account: live.Account, **options: bool
) -> AsyncIterator[Page]:
    """Open a page of a user."""
    url = f"ws://127.0.0.1:{server.port}/socket.io/?EIO=4&transport=websocket"
    async with connect(
        url, max_size=None, compression=None, proxy=None, ping_interval=None
    ) as connection:
        socket = WebSocket(connection)
        await socket.read()
        await socket.join("/", {"token": account.access})
        opened = Page(socket, **options)
        try:
            yield opened
        finally:
            await opened.close()
