"""Small applications on the real-time layer, for suites of the protocols.

    python -m tests.protocol_app --profile A --port 4001 --server uvicorn
    python -m tests.protocol_app --ports 4001,4002 --redis redis://127.0.0.1:6379/0

With several ports, each port is served by a worker in a process of its own. Workers
with the same Redis handle each other's requests.

Profile A is for the official suites of Engine.IO and Socket.IO, and P is the same with
longer timings; B is for this project's own acceptance tests, C1 and C2 are for the
suites of the two JavaScript clients, S is for tests of load and of leaks, and I is for
the measurement of idle sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import wait
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer
from django.conf import settings

if not settings.configured:
    settings.configure(CHANNEL_LAYERS={}, DATABASES={}, SECRET_KEY="protocol suites")

from llmchat.realtime import (
    Ack,
    CloseReason,
    HttpOptions,
    Limits,
    Namespace,
    Options,
    Peer,
    Request,
    Server,
    Socket,
    SocketIO,
    SocketIOOptions,
    event,
    make_consumers,
)
from llmchat.workers import Mailbox, address_of
from tests.support.protocol_acceptance import Acceptance, AcceptanceAuth, AcceptanceChat
from tests.support.protocol_client_suite import (
    Abc,
    Asd,
    ClientMain,
    Foo,
    No,
    TimeoutSocket,
    Valid,
)
from tests.support.protocol_stress import Stress

# --- Bare Engine.IO ------------------------------------------------------------


class Echo:
    """Sends every message back."""

    next_deadline = None
    is_joining = False

    def __init__(self, client: Peer) -> None:
        self.client = client

    def receive(self, message: str | bytes) -> None:
        self.client.send([message])

    def confirmed(self, count: int) -> None:
        pass

    def closed(self, reason: CloseReason) -> None:
        pass

    def hand_over(self, worker: str) -> Any:
        return {}

    def take_over(self, state: Any, waiting: int) -> None:
        pass

    def tick(self, now: float) -> None:
        pass


class Greeter(Echo):
    """What engine.io-client's suite expects of its server."""

    answers: dict[str | bytes, str | bytes] = {
        "give binary": bytes(range(5)),
        "give utf8": "пойду спать всем спокойной ночи",
    }

    def __init__(self, client: Peer) -> None:
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


# --- The profiles --------------------------------------------------------------

Routes = dict[str, tuple[Server, HttpOptions]]


def refuse_with(parameter: str) -> Any:
    async def allow_request(request: Request) -> str | None:
        return "" if parameter in request.handshake.query else None

    return allow_request


async def hold_briefly(request: Request) -> str | None:
    await asyncio.sleep(0.01)
    return None


def profile_a(
    ping_interval_s: float = 0.3,
    ping_timeout_s: float = 0.2,
    connect_timeout_s: float = 1.0,
) -> Routes:
    options = Options(ping_interval_s=ping_interval_s, ping_timeout_s=ping_timeout_s)
    limits = Limits(connect_timeout_s=connect_timeout_s)
    socketio = SocketIO([Main(), Custom()], SocketIOOptions(limits=limits))
    http = HttpOptions(cors_origins="*")
    return {
        "/engine.io/": (Server(Echo, options), http),
        "/socket.io/": (Server(socketio, options), http),
    }


def profile_p(ping_interval_s: float = 0.3) -> Routes:
    """Return profile A with longer timeouts, for tests on a busy machine."""
    return profile_a(
        ping_interval_s=ping_interval_s, ping_timeout_s=20.0, connect_timeout_s=20.0
    )


def profile_q() -> Routes:
    """Return profile P without pings, which would come between."""
    return profile_p(ping_interval_s=600.0)


def profile_b() -> Routes:
    options = Options(
        ping_interval_s=2.0,
        ping_timeout_s=1.0,
        upgrade_timeout_s=1.5,
        max_payload_bytes=10_000,
    )
    socketio = SocketIO(
        [Acceptance(), AcceptanceChat(), AcceptanceAuth()],
        SocketIOOptions(
            limits=Limits(connect_timeout_s=1.5, max_attachment_bytes=50_000),
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


def profile_s() -> Routes:
    options = Options(ping_interval_s=2.0, ping_timeout_s=2.0)
    stress = Stress()
    socketio = SocketIO(
        [stress],
        SocketIOOptions(limits=Limits(connect_timeout_s=1.0), recovery_window_s=3.0),
    )
    server = Server(socketio, options)
    stress.server = server
    return {"/socket.io/": (server, HttpOptions())}


def profile_i() -> Routes:
    """Return the defaults with recovery, for measuring what an idle socket costs."""
    socketio = SocketIO([Namespace()], SocketIOOptions(recovery_window_s=120.0))
    return {"/socket.io/": (Server(socketio), HttpOptions())}


PROFILES = {
    "A": profile_a,
    "P": profile_p,
    "Q": profile_q,
    "B": profile_b,
    "C1": profile_c1,
    "C2": profile_c2,
    "S": profile_s,
    "I": profile_i,
}


class Mailboxes:
    """Connects the servers of this process with those on the same paths in others."""

    def __init__(self, routes: Routes, redis: str) -> None:
        self._routes = routes
        self._redis = redis
        self._open: list[Mailbox] = []

    def open(self) -> None:
        """Join the other processes, on the running loop; later calls do nothing."""
        if self._open:
            return
        layer = RedisPubSubChannelLayer(hosts=[self._redis])
        for path, (server, _) in self._routes.items():
            mailbox = Mailbox(layer, address_of(f"{os.getpid()} {path}"))
            mailbox.start()
            self._open.append(mailbox)
            server.join(mailbox)
            if isinstance(server._application, SocketIO):
                server._application.join(mailbox)

    async def close(self) -> None:
        """Leave the other processes."""
        await asyncio.gather(*(mailbox.close() for mailbox in self._open))


def asgi(routes: Routes, redis: str | None = None) -> Any:
    """Return an ASGI application that serves each path with its server."""
    mailboxes = None if redis is None else Mailboxes(routes, redis)
    consumers = {
        path: [consumer.as_asgi() for consumer in make_consumers(server, http)]
        for path, (server, http) in routes.items()
    }

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if mailboxes is not None:
            mailboxes.open()
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
        if mailboxes is not None:
            await mailboxes.close()
        await send({"type": "lifespan.shutdown.complete"})

    return application


async def not_found(scope: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"not found"})


def make_application(profile: str, redis: str | None = None) -> Any:
    return asgi(PROFILES[profile](), redis)


def serve_all(profile: str, server: str, ports: list[int], redis: str | None) -> None:
    """Serve a profile with a worker on each port; if one ends, end all of them."""
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=serve, args=(profile, server, port, redis))
        for port in ports
    ]
    for worker in workers:
        worker.start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        wait([worker.sentinel for worker in workers])
        sys.exit("a worker has ended")
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()


def serve(profile: str, server: str, port: int, redis: str | None = None) -> None:
    """Serve a profile until interrupted."""
    application = make_application(profile, redis)
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
    parser.add_argument("--ports", help="ports of several workers, separated by commas")
    parser.add_argument("--redis", help="URL of the Redis that connects the workers")
    parser.add_argument("--server", choices=("uvicorn", "daphne"), default="uvicorn")
    arguments = parser.parse_args()
    profile, server, redis = arguments.profile, arguments.server, arguments.redis
    if arguments.ports is None:
        serve(profile, server, arguments.port, redis)
    else:
        ports = [int(port) for port in arguments.ports.split(",")]
        serve_all(profile, server, ports, redis)


if __name__ == "__main__":
    main()
