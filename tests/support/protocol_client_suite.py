"""Profile C1: what socket.io-client's own suite expects of its server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from llmchat.realtime import Ack, ConnectionRefused, Namespace, Socket, event


def handshake_of(socket: Socket) -> dict[str, Any]:
    return {"query": dict(socket.handshake.query), "auth": socket.auth}


class ClientMain(Namespace):
    """The main namespace."""

    async def on_connect(self, socket: Socket) -> None:
        if socket.handshake.query.get("fail"):
            raise ConnectionRefused("Auth failed (main namespace)")
        socket.data = {}

    @event("hi")
    async def hi(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        socket.emit("hi")

    @event("echo")
    async def echo(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        if ack:
            ack(*args[:1])

    @event("ack")
    async def ack_me(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        async def ask() -> None:
            answer = await socket.call("ack")
            if answer[0] == 5 and answer[1]["test"]:
                socket.emit("got it")

        socket.spawn(ask())

    @event("getAckDate")
    async def get_ack_date(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        if ack:
            ack(iso_now())

    @event("getDate")
    async def get_date(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        socket.emit("takeDate", iso_now())

    @event("getDateObj")
    async def get_date_obj(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        socket.emit("takeDateObj", {"date": iso_now()})

    @event("getUtf8")
    async def get_utf8(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        for text in (
            "てすと",
            "Я Б Г Д Ж Й",
            "Ä ä Ü ü ß",
            "utf8 — string",
            "utf8 — string",
        ):
            socket.emit("takeUtf8", text)

    @event("false")
    async def false(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        socket.emit("false", False)

    @event("doge")
    async def doge(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        socket.emit("doge", b"asdfasdf")

    @event("getbin")
    async def getbin(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        socket.emit("takebin", b"asdfasdf")

    @event("buffa")
    async def buffa(self, socket: Socket, data: Any, *, ack: Ack | None) -> None:
        if isinstance(data, bytes):
            socket.emit("buffack")

    @event("jsonbuff")
    async def jsonbuff(self, socket: Socket, data: Any, *, ack: Ack | None) -> None:
        if self.is_greeting(data):
            socket.emit("jsonbuff-ack")

    @event("abuff1")
    async def abuff1(self, socket: Socket, data: Any, *, ack: Ack | None) -> None:
        socket.data["abuff1"] = isinstance(data, bytes)

    @event("abuff2")
    async def abuff2(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        if socket.data.get("abuff1"):
            socket.emit("abuff2-ack")

    @event("blob")
    async def blob(self, socket: Socket, data: Any, *, ack: Ack | None) -> None:
        if isinstance(data, bytes):
            socket.emit("back")

    @event("jsonblob")
    async def jsonblob(self, socket: Socket, data: Any, *, ack: Ack | None) -> None:
        if self.is_greeting(data):
            socket.emit("jsonblob-ack")

    @event("blob1")
    async def blob1(self, socket: Socket, data: Any, *, ack: Ack | None) -> None:
        socket.data["blobs"] = [isinstance(data, bytes)]

    @event("blob2")
    async def blob2(self, socket: Socket, data: Any, *, ack: Ack | None) -> None:
        socket.data["blobs"].append(data == "second")

    @event("blob3")
    async def blob3(self, socket: Socket, data: Any, *, ack: Ack | None) -> None:
        if socket.data["blobs"] == [True, True] and isinstance(data, bytes):
            socket.emit("blob3-ack")

    @event("getHandshake")
    async def get_handshake(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        if ack:
            ack(handshake_of(socket))

    @event("getId")
    async def get_id(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        if ack:
            ack(socket.id)

    @staticmethod
    def is_greeting(data: Any) -> bool:
        return (
            data["hello"] == "lol"
            and isinstance(data["message"], bytes)
            and data["goodbye"] == "gotcha"
        )


def iso_now() -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return now.replace("+00:00", "Z")


class Foo(Namespace):
    name = "/foo"

    @event("getId")
    async def get_id(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        if ack:
            ack(socket.id)


class TimeoutSocket(Namespace):
    name = "/timeout_socket"


class Valid(Namespace):
    name = "/valid"


class Asd(Namespace):
    name = "/asd"


class Abc(Namespace):
    name = "/abc"

    async def on_joined(self, socket: Socket) -> None:
        socket.emit("handshake", handshake_of(socket))


class No(Namespace):
    name = "/no"

    async def on_connect(self, socket: Socket) -> None:
        raise ConnectionRefused("Auth failed (custom namespace)")
