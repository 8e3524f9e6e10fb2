"""A peer and its transports in memory, for orders of events no server can force."""

from __future__ import annotations

import asyncio
from typing import Any

from llmchat.realtime import (
    Namespace,
    Options,
    Peer,
    Request,
    Server,
    SocketIO,
    SocketIOOptions,
)
from llmchat.realtime.request import Handshake
from tests.support.wire import LIMIT_S, connect_packet, connected


class Wire:
    """A WebSocket, poll and POST that note every call; `gate` holds writes back."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: OSError | None = None

    @property
    def is_closed(self) -> bool:
        return ("closed", 1000) in self.told

    def takes_texts(self) -> bool:
        return False

    def write_texts(self, frames: list[str]) -> None:
        raise AssertionError("it takes none")

    async def send_frame(self, frame: str | bytes) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.told.append(frame)

    async def close(self, code: int) -> None:
        await self.gate.wait()
        self.told.append(("closed", code))

    def abort(self) -> None:
        self.told.append("aborted")

    def answer(self, body: bytes) -> None:
        self.told.append(body.decode())

    def accept(self) -> None:
        self.told.append("accepted")

    def refuse(self, status: int) -> None:
        self.told.append(("refused", status))


async def turns() -> None:
    """Let every task run as far as it can without waiting for a clock."""
    for _ in range(20):
        await asyncio.sleep(0)


async def opened(server: Server, transport: str) -> tuple[Peer, Wire]:
    """Open a session whose handshake is answered."""
    query = {"EIO": "4", "transport": transport}
    handshake = Handshake(query=query)
    request = Request("GET", transport == "websocket", handshake)
    peer, wire = await server.open(request), Wire()
    if transport == "websocket":
        peer.adopt(wire)
    else:
        peer.start_poll(wire)
        peer.answer_sent(wire)
    await turns()
    wire.told.clear()
    return peer, wire


def serving(lobby: Namespace, window_s: float = 60.0) -> Server:
    socketio = SocketIO([lobby], SocketIOOptions(recovery_window_s=window_s))
    return Server(socketio, Options(max_unconfirmed_bytes=10_000_000))


async def joined(server: Server, auth: Any = None) -> tuple[Peer, Wire, dict[str, Any]]:
    peer, wire = await opened(server, "websocket")
    peer.receive_frame(wire, connect_packet("/", auth))
    await turns()
    async with asyncio.timeout(LIMIT_S):
        while not wire.told:  # the application may ask its database  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return peer, wire, connected(wire.told.pop(0), "/")


async def joined_again(
    server: Server, answer: dict[str, Any], auth: dict[str, Any], **more: Any
) -> tuple[Peer, Wire, dict[str, Any]]:
    """Join again with the pid that the first join got."""
    return await joined(server, {**auth, "pid": answer["pid"], **more})
