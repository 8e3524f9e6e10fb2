"""Profile B: one event for each thing that a client can ask for."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from llmchat.realtime import Ack, ConnectionRefused, Namespace, Socket, event


class Acceptance(Namespace):
    """What all the namespaces share; `gone` records which sockets left, and why."""

    gone: dict[str, list[dict[str, str]]] = defaultdict(list)

    async def on_connect(self, socket: Socket) -> None:
        socket.data = {}

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        entry = {"id": socket.id, "nsp": self.name, "reason": reason}
        self.gone[socket.id].append(entry)

    @event("echo")
    async def echo(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        if ack:
            ack(*args)
        else:
            socket.emit("echo", *args)

    @event("burst")
    async def burst(self, socket: Socket, n: int, *, ack: Ack | None) -> None:
        for i in range(n):
            socket.emit("burst", i)

    @event("ask")
    async def ask(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        async def ask() -> None:
            socket.emit("answered", *await socket.call("question", *args))

        socket.spawn(ask())

    @event("join")
    async def join(self, socket: Socket, room: str, *, ack: Ack | None) -> None:
        socket.join(room)
        if ack:
            ack()

    @event("leave")
    async def leave(self, socket: Socket, room: str, *, ack: Ack | None) -> None:
        socket.leave(room)
        if ack:
            ack()

    @event("room")
    async def room(
        self, socket: Socket, room: str, *args: Any, ack: Ack | None
    ) -> None:
        self.emit("room", *args, room=room)

    @event("others")
    async def others(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        self.emit("others", *args, skip=[socket])

    @event("kick")
    async def kick(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        socket.disconnect()

    @event("kill")
    async def kill(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        socket.disconnect(close=True)

    @event("set")
    async def set(self, socket: Socket, v: Any, *, ack: Ack | None) -> None:
        socket.data["v"] = v
        if ack:
            ack()

    @event("whoami")
    async def whoami(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        if ack:
            ack(
                {
                    "id": socket.id,
                    "nsp": self.name,
                    "transport": socket.transport,
                    "recovered": socket.recovered,
                    "rooms": sorted(socket.rooms),
                    "data": socket.data,
                    "auth": socket.auth,
                    "query": dict(socket.handshake.query),
                    "headers": dict(socket.handshake.headers),
                }
            )

    @event("gone")
    async def was_gone(self, socket: Socket, sid: str, *, ack: Ack | None) -> None:
        if ack:
            ack(self.gone.get(sid, []))


class AcceptanceChat(Acceptance):
    name = "/chat"


class AcceptanceAuth(Acceptance):
    name = "/auth"

    async def on_connect(self, socket: Socket) -> None:
        await super().on_connect(socket)
        if socket.auth.get("token") != "secret":
            raise ConnectionRefused("unauthorized", {"code": "E_AUTH", "n": 1})
