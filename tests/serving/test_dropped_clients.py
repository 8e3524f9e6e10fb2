"""Clients that reset their connection at the moment when they get a response."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.conftest import StartServer
from tests.support.live import Account, LiveServer

TIMES = 60
MOST = 10  # connections, as few as the setting allows
TIMEOUT_S = 20.0
# Closing resets the connection.
RESET = struct.pack("ii", 1, 0)

POLLING = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
BODY = "Content-Type: application/json"
# A CONNECT that will be refused; the refusal is the response to the pending poll.
CONNECT = b'40{"token":"none"}'
FRAMES = [
    b"\x81\x92\x00\x00\x00\x00" + CONNECT,
    b"\x81\x81\x00\x00\x00\x001",  # Engine.IO's close
    b"\x88\x82\x00\x00\x00\x00\x03\xe8",
    b"\xff" * 20,
]

Meet = Callable[["Clients", Account, int], None]


class Clients:
    """Connections to one server, which are reset when they are closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[socket.socket] = []

    def connect(self) -> socket.socket:
        """Open a connection."""
        made = socket.create_connection(("127.0.0.1", self._port), TIMEOUT_S)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._open.append(made)
        return made

    def reset(self) -> None:
        """Reset all connections."""
        while self._open:
            self._open.pop().close()


@pytest.fixture
def clients(server: LiveServer) -> Iterator[Clients]:
    found = Clients(server.port)
    yield found
    found.reset()


def request(method: str, target: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def response(client: socket.socket) -> bytes:
    """Return the body of a response whose length is announced."""
    with client.makefile("rb") as file:
        head = list(iter(file.readline, b"\r\n"))
        lengths = [line for line in head if line.lower().startswith(b"content-length")]
        return file.read(int(lengths[0].split(b":")[1]))


def session(client: socket.socket) -> str:
    """Open a session of Engine.IO; return the address that it polls."""
    client.sendall(request("GET", POLLING))
    handshake = json.loads(response(client)[1:])
    return f"{POLLING}&sid={handshake['sid']}"


def poll_and(client: socket.socket, clients: Clients, behind: bytes) -> None:
    """Reset a connection with a pending poll, while the poll gets its response."""
    target = session(client)
    client.sendall(request("GET", target) + behind)
    poster = clients.connect()
    poster.sendall(request("POST", target, "Content-Type: text/plain", body=CONNECT))
    client.close()
    assert response(poster)


def poll(clients: Clients, account: Account, turn: int) -> None:
    poll_and(clients.connect(), clients, b"")


def poll_before_others(clients: Clients, account: Account, turn: int) -> None:
    poll_and(clients.connect(), clients, request("GET", "/healthz") * (1 + turn % 2))


def poll_before_websocket(clients: Clients, account: Account, turn: int) -> None:
    poll_and(clients.connect(), clients, request("GET", WEBSOCKET, *UPGRADE))


def post(clients: Clients, account: Account, turn: int) -> None:
    client = clients.connect()
    target = session(client)
    client.sendall(request("POST", target, body=[CONNECT, b"1", b"nonsense"][turn % 3]))


def rest(clients: Clients, account: Account, turn: int) -> None:
    bearer = f"Authorization: Bearer {account.access}"
    target = ("/auth/me", "/llm/providers", "/", "/nothing", "/admin/")[turn % 5]
    clients.connect().sendall(request("GET", target, bearer))


def events(clients: Clients, account: Account, turn: int) -> None:
    """Ask for an answer as server-sent events, which has sometimes begun."""
    turns = [{"role": "user", "content": "Hello"}]
    asked = {"provider": "local", "stream": True, "messages": turns, "maxTokens": 4}
    bearer = f"Authorization: Bearer {account.access}"
    behind = request("GET", "/healthz") * (turn % 2)
    client = clients.connect()
    body = json.dumps(asked).encode()
    client.sendall(request("POST", "/llm/chat", bearer, BODY, body=body) + behind)
    if turn % 10 == 0:
        client.recv(1)


def websocket(clients: Clients, account: Account, turn: int) -> None:
    """Open a WebSocket that closes, or is closed, or is never established."""
    client = clients.connect()
    refused = WEBSOCKET.replace("4", "3") if turn % 6 == 5 else WEBSOCKET
    client.sendall(request("GET", refused, *UPGRADE))
    if turn % 6 < 4:
        client.recv(1)
        with suppress(ConnectionError):
            client.sendall(FRAMES[turn % 6])


def broken(clients: Clients, account: Account, turn: int) -> None:
    clients.connect().sendall(
        (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nx\r\n\r\n")[turn % 2]
    )


@pytest.mark.parametrize(
    "meet",
    [
        poll,
        poll_before_others,
        poll_before_websocket,
        post,
        rest,
        events,
        websocket,
        broken,
    ],
)
def test_one_that_resets_while_it_is_answered_leaves_no_traceback(
    server: LiveServer, clients: Clients, meet: Meet
) -> None:
    account = server.account()
    logged = len(server.log_text())

    for turn in range(TIMES):
        meet(clients, account, turn)
        clients.reset()

    catch_up(clients.connect())
    assert "Traceback" not in server.log_text()[logged:]
    assert "ERROR" not in server.log_text()[logged:]


def test_nor_does_one_that_is_told_that_the_server_is_busy(
    start_server: StartServer,
) -> None:
    server = start_server("uvicorn", {"LLMCHAT_MAX_CONNECTIONS": str(MOST)})
    served, others = Clients(server.port), Clients(server.port)
    first, *_ = [catch_up(served.connect()) for _ in range(MOST)]

    for turn in range(TIMES):
        client = others.connect()
        if turn % 3:
            client.sendall(request("GET", POLLING))
        others.reset()

    catch_up(first)
    served.reset()
    assert server.log_text().count("Too many connections") == 1
    assert "Traceback" not in server.log_text()
    assert "ERROR" not in server.log_text()


def catch_up(client: socket.socket) -> socket.socket:
    """Be served after all earlier requests; return the connection."""
    for _ in range(3):
        client.sendall(request("GET", "/healthz"))
        assert response(client)
    return client
