"""Four small applications on the real-time layer, for suites of the protocols.

    python -m tests.protocol_app --profile A --port 4001 --server uvicorn

Profile A serves the official suites of Engine.IO and Socket.IO, B this project's own
acceptance tests, C1 and C2 the suites of the two JavaScript clients.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

if not settings.configured:
    settings.configure(CHANNEL_LAYERS={}, DATABASES={}, SECRET_KEY="protocol suites")

from llmchat.clients import Application, Client
from llmchat.consumers import make_consumers
from llmchat.cors import HttpOptions
from llmchat.dispatch import SocketIO, SocketIOOptions
from llmchat.engineio.events import CloseReason
from llmchat.engineio.handshake import Options
from llmchat.server import Request, Server
from llmchat.socketio.connection import Limits
from llmchat.sockets import Ack, ConnectionRefused, Namespace, Socket, event

# --- Bare Engine.IO ------------------------------------------------------------


class Echo:
    """Sends every message back."""

    next_deadline = None

    def __init__(self, client: Client) -> None:
        self.client = client

    def receive(self, message: str | bytes) -> None:
        self.client.send([message])

    def confirmed(self, count: int) -> None:
        pass

    def closed(self, reason: CloseReason) -> None:
        pass

    def tick(self, now: float) -> None:
        pass


class Greeter(Echo):
    """What engine.io-client's suite expects of its server."""

    answers: dict[str | bytes, str | bytes] = {
        "give binary": bytes(range(5)),
        "give utf8": "пойду спать всем спокойной ночи",
    }

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        asyncio.get_running_loop().call_soon(client.send, ["hi"])

    def receive(self, message: str | bytes) -> None:
        self.client.send([self.answers.get(message, message)])


# --- Profile A -----------------------------------------------------------------


class Custom(Namespace):
    name = "/custom"

    async def on_joined(self, socket: Socket) -> None:
        socket.emit("auth", socket.auth)


class Main(Custom):
    name = "/"

    @event("message")
    async def message(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        socket.emit("message-back", *args)

    @event("message-with-ack")
    async def with_ack(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        if ack:
            ack(*args)


# --- Profile B -----------------------------------------------------------------


class Acceptance(Namespace):
    """One event for each thing that a client can want."""

    gone: dict[str, list[dict[str, str]]] = defaultdict(list)

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
        if socket.auth.get("token") != "secret":
            raise ConnectionRefused("unauthorized", {"code": "E_AUTH", "n": 1})


# --- Profile C1 ----------------------------------------------------------------


def handshake_of(socket: Socket) -> dict[str, Any]:
    return {"query": dict(socket.handshake.query), "auth": socket.auth}


class ClientMain(Namespace):
    """What socket.io-client's suite expects of the main namespace."""

    async def on_connect(self, socket: Socket) -> None:
        if socket.handshake.query.get("fail"):
            raise ConnectionRefused("Auth failed (main namespace)")

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


# --- The profiles --------------------------------------------------------------

Routes = dict[str, tuple[Server, HttpOptions]]


def refuse_with(parameter: str) -> Any:
    async def allow_request(request: Request) -> str | None:
        return "" if parameter in request.handshake.query else None

    return allow_request


async def hold_briefly(request: Request) -> str | None:
    await asyncio.sleep(0.01)
    return None


def profile_a() -> Routes:
    options = Options(ping_interval_s=0.3, ping_timeout_s=0.2)
    socketio = SocketIO(
        [Main(), Custom()], SocketIOOptions(limits=Limits(connect_timeout_s=1.0))
    )
    http = HttpOptions(cors_origins="*")
    return {
        "/engine.io/": (Server(Echo, options), http),
        "/socket.io/": (Server(socketio, options), http),
    }


def profile_b() -> Routes:
    options = Options(
        ping_interval_s=2.0,
        ping_timeout_s=1.0,
        upgrade_timeout_s=0.6,
        max_payload_bytes=10_000,
    )
    socketio = SocketIO(
        [Acceptance(), AcceptanceChat(), AcceptanceAuth()],
        SocketIOOptions(
            limits=Limits(connect_timeout_s=0.8, max_attachment_bytes=50_000),
            recovery_window_s=3.0,
        ),
    )
    http = HttpOptions(
        cors_origins=("http://allowed.example",), cors_credentials=True, cookie="io"
    )
    allow_request = refuse_with("deny")
    return {
        "/socket.io/": (Server(socketio, options, allow_request=allow_request), http)
    }


def profile_c1() -> Routes:
    namespaces = [ClientMain(), Foo(), TimeoutSocket(), Valid(), Asd(), Abc(), No()]
    socketio = SocketIO(namespaces, SocketIOOptions(recovery_window_s=120.0))
    server = Server(socketio, Options(ping_interval_s=2.0), allow_request=hold_briefly)
    return {"/socket.io/": (server, HttpOptions(cors_origins="*"))}


def profile_c2() -> Routes:
    options = Options(ping_interval_s=0.5, max_payload_bytes=100)
    server = Server(Greeter, options, allow_request=refuse_with("deny"))
    return {"/engine.io/": (server, HttpOptions(cors_origins="*"))}


PROFILES = {"A": profile_a, "B": profile_b, "C1": profile_c1, "C2": profile_c2}


def application_of(application: Application, **options: Any) -> Any:
    """An ASGI application with one server on `/socket.io/`, for tests."""
    return asgi({"/socket.io/": (Server(application, **options), HttpOptions())})


def asgi(routes: Routes) -> Any:
    """An ASGI application that serves each path with its server."""
    consumers = {
        path: [consumer.as_asgi() for consumer in make_consumers(server, http)]
        for path, (server, http) in routes.items()
    }

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        if scope["path"] not in consumers:
            return await not_found(scope, send)
        polling, websocket = consumers[scope["path"]]
        chosen = websocket if scope["type"] == "websocket" else polling
        return await chosen(scope, receive, send)

    async def lifespan(receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for server, _ in routes.values():
            server.shutdown()
        await send({"type": "lifespan.shutdown.complete"})

    return application


async def not_found(scope: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"not found"})


def make_application(profile: str) -> Any:
    return asgi(PROFILES[profile]())


def serve(profile: str, server: str, port: int) -> None:
    """Serves a profile until it is interrupted."""
    application = make_application(profile)
    if server == "uvicorn":
        import uvicorn

        uvicorn.run(
            application,
            host="127.0.0.1",
            port=port,
            loop="uvloop",
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            log_level="warning",
            timeout_graceful_shutdown=1,
        )
        return
    from daphne.server import Server as Daphne

    Daphne(application, endpoints=[f"tcp:port={port}:interface=127.0.0.1"]).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=PROFILES, default="A")
    parser.add_argument("--port", type=int, default=4001)
    parser.add_argument("--server", choices=("uvicorn", "daphne"), default="uvicorn")
    arguments = parser.parse_args()
    serve(arguments.profile, arguments.server, arguments.port)


if __name__ == "__main__":
    main()
