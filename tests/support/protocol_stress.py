"""Profile S: floods for clients that do not read, and counts of what remains after."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from llmchat.realtime import Ack, Namespace, Peer, Server, Socket, event

PIECE = "x" * 10_000


class Stress(Namespace):
    """Floods clients; `flooded` counts the bytes emitted by all floods, ended or not.

    An impatient flood continues after its client's socket is forgotten.
    """

    server: Server
    flooded = 0

    def __init__(self) -> None:
        super().__init__()
        self._floods: set[asyncio.Task[None]] = set()
        self.ends: dict[str, str] = {}

    @event("echo")
    async def echo(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        if ack:
            ack(*args)

    @event("fail")
    async def fail(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        raise ValueError("on purpose")

    @event("flood")
    async def flood(
        self, socket: Socket, total: int, patient: bool, *, ack: Ack | None
    ) -> None:
        if ack:
            ack()
        work = self._flood(socket, total, patient=patient)
        task = asyncio.create_task(work)
        self._floods.add(task)
        task.add_done_callback(self._floods.discard)

    async def _flood(self, socket: Socket, total: int, *, patient: bool) -> None:
        for _ in range(0, total, len(PIECE)):
            if patient:
                await socket.drain()
            socket.emit("piece", PIECE)
            self.flooded += len(PIECE)
            await asyncio.sleep(0)

    @event("flooded")
    async def was_flooded(self, socket: Socket, *, ack: Ack | None) -> None:
        if ack:
            ack(self.flooded)

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        self.ends[socket.id] = reason

    @event("ended")
    async def ended(self, socket: Socket, id_: str, *, ack: Ack | None) -> None:
        if ack:
            ack(self.ends.get(id_))

    @event("state")
    async def state(self, socket: Socket, *, ack: Ack | None) -> None:
        gc.collect()
        clients = sum(isinstance(thing, Peer) for thing in gc.get_objects())
        sockets = sum(isinstance(thing, Socket) for thing in gc.get_objects())
        if ack:
            ack(
                {
                    "tasks": len(asyncio.all_tasks()),
                    "sessions": len(self.server),
                    "clients": clients,
                    "sockets": sockets,
                }
            )
