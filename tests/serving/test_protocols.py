"""What a client is allowed to hold open, and for how long."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.conftest import StartServer
from tests.support.live import LiveServer

LIMIT_S = 1.5
KEEP_ALIVE_S = 6.0
MOST = 30
REJECTED = 110


@pytest.fixture(scope="module")
def live(start_server: StartServer) -> LiveServer:
    env = {
        "LLMCHAT_REQUEST_TIMEOUT_S": str(LIMIT_S),
        "LLMCHAT_KEEP_ALIVE_S": str(KEEP_ALIVE_S),
        "LLMCHAT_MAX_CONNECTIONS": str(MOST),
        "LLMCHAT_MAX_PAYLOAD_BYTES": "200000",
    }
    return start_server("uvicorn", env)


@pytest.fixture
def opened(live: LiveServer) -> Iterator[Callable[[], socket.socket]]:
    with ExitStack() as stack:

        def connection() -> socket.socket:
            made = socket.create_connection(("127.0.0.1", live.port), timeout=20)
            return stack.enter_context(made)

        yield connection


POST = (
    b"POST /auth/token HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
CHUNKED = b"POST /llm/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def whole_answer(client: socket.socket) -> bytes:
    """Read a response with a body, until the end of its JSON."""
    received = b""
    while b'"}' not in received:
        received += (more := client.recv(65536))
        assert more, received  # otherwise this would wait forever
    return received


PAGE = b"http://localhost:5173"  # an allowed origin, of a server under development
NO_HEADERS = b"Accept: */*\r\nno header\r\n\r\n"
FROM_PAGE = b"GET %b HTTP/1.1\r\nHost: localhost\r\nOrigin: %b\r\n\r\n"


def answer_to(client: socket.socket, request: bytes) -> tuple[int, dict[str, str], Any]:
    """Return status, headers and body of a response that ends the connection."""
    if request:
        client.sendall(request)
    received = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = received.decode().partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, json.loads(body) if body else None


def is_dropped_while_dripping(client: socket.socket, drop: bytes) -> bool:
    """Send a byte now and then; return whether the server closes the connection."""
    client.settimeout(0.2)
    for _ in range(round(60 * LIMIT_S)):
        try:
            if drop:
                client.sendall(drop)
            if client.recv(65536) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


@pytest.mark.parametrize(
    ("begun", "drop"),
    [
        (b"", b""),
        (b"GET /hea", b""),
        (b"GET /healthz HTTP/1.1\r\nX-Long: ", b"x"),
        (POST % 90_000, b""),
        (POST % 90_000, b" "),
        (CHUNKED, b"1\r\n \r\n"),
    ],
    ids=["silent", "half a line", "headers", "no body", "slow body", "chunks"],
)
def test_a_request_that_does_not_arrive_is_dropped(
    opened: Callable[[], socket.socket], begun: bytes, drop: bytes
) -> None:
    client = opened()
    client.sendall(begun)

    assert is_dropped_while_dripping(client, drop)


def test_a_second_request_has_the_same_limit(
    opened: Callable[[], socket.socket],
) -> None:
    client = opened()
    client.sendall(HEALTH)
    assert b"200 OK" in whole_answer(client)

    client.sendall(HEALTH[:10])

    assert is_dropped_while_dripping(client, b"x")


def test_the_body_of_a_request_that_is_refused_has_it_too(
    opened: Callable[[], socket.socket],
) -> None:
    client = opened()
    client.sendall(POST % 500_000)
    assert b"413" in whole_answer(client)

    assert is_dropped_while_dripping(client, b" ")


@pytest.mark.parametrize(
    ("begun", "more"),
    [
        (b"", b"GET /" + b"a" * 1000),
        (b"GET /healthz HTTP/1.1\r\n", b"X-Long: " + b"x" * 1000),
        (b"GET /healthz HTTP/1.1\r\n", b"X-Many: x\r\n" * 100),
        (CHUNKED + b"1;", b"x" * 1000),
        (CHUNKED + b"0\r\n", b"X-Trailer: x\r\n" * 100),
    ],
    ids=["line", "header", "headers", "chunk extension", "trailers"],
)
def test_what_a_parser_would_have_to_keep_is_bounded(
    opened: Callable[[], socket.socket], begun: bytes, more: bytes
) -> None:
    client = opened()
    client.sendall(begun)

    def send(most: int) -> None:
        for _ in range(most // len(more)):
            client.sendall(more)

    with pytest.raises(OSError, match=r"reset|pipe"):
        send(50_000_000)  # far more than the system buffers


def test_whoever_takes_it_for_a_proxy_is_refused(
    opened: Callable[[], socket.socket],
) -> None:
    client = opened()
    client.sendall(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n")

    assert client.recv(65536).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        (b"no HTTP\r\n\r\n", None),
        (FROM_PAGE[:-2] % (b"/llm/x", PAGE) + NO_HEADERS, PAGE.decode()),
        (FROM_PAGE[:-2] % (b"/llm/x", b"https://evil") + NO_HEADERS, None),
    ],
    ids=["nothing", "header", "foreign page"],
)
def test_what_cannot_be_read_is_refused_as_everything_is(
    opened: Callable[[], socket.socket], request_: bytes, allowed: str | None
) -> None:
    status, headers, body = answer_to(opened(), request_)

    assert (status, body["code"]) == (400, "bad_request")
    assert headers.get("access-control-allow-origin") == allowed


def test_a_body_with_an_offer_of_another_protocol_arrives(live: LiveServer) -> None:
    """Java's client sends this with its first request."""
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"}
    account = live.account()
    body = {"username": account.username, "password": account.password}

    answer = httpx.post(f"{live.url}/auth/token", json=body, headers=offer, timeout=20)

    assert answer.status_code == 200


def test_idle_connections_and_waiting_requests_stay(
    live: LiveServer, opened: Callable[[], socket.socket]
) -> None:
    idle, unused = opened(), opened()
    for client in (idle, unused):
        client.sendall(HEALTH)
        whole_answer(client)
    answered_at = time.monotonic()
    query = "EIO=4&transport=polling"
    with (
        httpx.Client(base_url=live.url, timeout=20) as http,
        connect(
            f"ws://127.0.0.1:{live.port}/socket.io/?EIO=4&transport=websocket"
        ) as ws,
    ):
        sid = json.loads(http.get(f"/socket.io/?{query}").text[1:])["sid"]
        poll = opened()
        line = f"GET /socket.io/?{query}&sid={sid} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        poll.sendall(line.encode())
        ws.recv()
        time.sleep(2 * LIMIT_S)  # the passing of time is what is tested

        assert http.post(f"/socket.io/?{query}&sid={sid}", content="40").text == "ok"
        assert b"200 OK" in poll.recv(65536)
        ws.send("40")
        assert str(ws.recv()).startswith("44")  # no token: refused, and answered
    if time.monotonic() - answered_at < KEEP_ALIVE_S - 1:  # else the machine stalled
        idle.sendall(HEALTH)
        assert b"200 OK" in whole_answer(idle)
    # Nothing was requested on this connection for as long as the setting says.
    assert unused.recv(65536) == b""
    assert time.monotonic() - answered_at > KEEP_ALIVE_S - LIMIT_S


def test_requests_that_come_all_at_once_are_all_answered(
    opened: Callable[[], socket.socket],
) -> None:
    """There are too many requests for one pass of the event loop."""
    clients = [opened() for _ in range(MOST - 1)]
    for _ in range(5):
        for part in (HEALTH[:30], HEALTH[30:60], HEALTH[60:]):
            for client in clients:
                client.sendall(part)
        for client in clients:
            assert b"200 OK" in whole_answer(client)


def test_whoever_asks_and_leaves_is_forgotten(
    live: LiveServer, opened: Callable[[], socket.socket]
) -> None:
    for _ in range(20):
        with ExitStack() as stack:
            address = ("127.0.0.1", live.port)
            clients = [socket.create_connection(address) for _ in range(MOST // 2)]
            for client in clients:
                stack.enter_context(client)
                client.sendall(HEALTH)

    client = opened()
    client.sendall(HEALTH)
    assert b"200 OK" in whole_answer(client)
    assert "Traceback" not in live.log_text()


def ask_health(clients: list[socket.socket]) -> None:
    """Send a request on each connection, which is idle from then on."""
    for client in clients:
        client.sendall(HEALTH)
        whole_answer(client)


def test_one_connection_too_many_is_told(
    live: LiveServer, opened: Callable[[], socket.socket]
) -> None:
    held = [opened() for _ in range(MOST)]
    ask_health(held)  # idle afterwards, as a connection may be for long
    for client in [opened() for _ in range(REJECTED)]:
        client.close()
    ask_health(held)
    # More connections than those whose requests are waited for.
    for client in [opened() for _ in range(REJECTED)]:
        assert answer_to(client, b"")[0] == 503
    ask_health(held)
    origin = PAGE.decode()
    for request, allowed in (
        (b"", None),  # sends no request
        (FROM_PAGE % (b"/llm/providers", PAGE), origin),
        (FROM_PAGE % (b"/llm/providers", b"https://evil.example"), None),
        (FROM_PAGE % (b"/socket.io/?EIO=4&transport=polling", PAGE), origin),
        (FROM_PAGE % (b"/admin/", PAGE), None),
        (POST % 50_000 + 50_000 * b" ", None),
    ):
        status, headers, body = answer_to(opened(), request)
        assert (status, body["code"], body["retryAfter"]) == (503, "server_busy", 5)
        assert (headers["retry-after"], headers["connection"]) == ("5", "close")
        assert headers.get("access-control-allow-origin") == allowed
    _, headers, body = answer_to(opened(), FROM_PAGE % (b"/v1/models", PAGE))
    assert (body["error"]["code"], headers["retry-after"]) == ("server_busy", "5")
    assert "retry-after" in headers["access-control-expose-headers"]
    # Otherwise a browser would not send the request that is then refused.
    asks = FROM_PAGE.replace(b"GET", b"OPTIONS").removesuffix(b"\r\n")
    asks += b"Access-Control-Request-Method: POST\r\n\r\n"
    status, headers, _ = answer_to(opened(), asks % (b"/llm/chat", PAGE))
    assert (status, headers["access-control-allow-origin"]) == (204, origin)
    assert "authorization" in headers["access-control-allow-headers"]
    for client in held:
        client.close()

    answer = httpx.get(f"{live.url}/healthz", timeout=20)

    assert answer.status_code == 200
    assert live.log_text().count("Too many connections") == 1


def test_a_client_that_breaks_the_protocol_does_not_fill_the_log(
    live: LiveServer,
) -> None:
    before = len(live.log_text().splitlines())
    url = f"ws://127.0.0.1:{live.port}/socket.io/?EIO=4&transport=websocket"
    for number in range(20):
        with socket.create_connection(("127.0.0.1", live.port), timeout=20) as client:
            client.sendall(b"no HTTP %d\r\n\r\n" % number)
            client.recv(65536)
        with pytest.raises(InvalidStatus, match="403"):
            connect(url, origin=Origin("https://evil.example"))
    for _ in range(5):
        with connect(url) as ws:
            ws.recv()
            with ws.send_context():
                ws.protocol.send_text(b"4\xff\xfe")
            with pytest.raises(Exception, match="1007"):
                ws.recv()

    lines = live.log_text().splitlines()
    # Each kind is logged once a minute, and other tests cause the same kinds.
    assert {line.partition("WARNING ")[2] for line in lines} >= {
        "uvicorn.error: Invalid HTTP request received",
        "uvicorn.error: Invalid UTF-8 sequence received from client"
        " (UnicodeDecodeError)",
    }
    assert len(lines[before:]) <= 6


UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%b\r\n"
)


@pytest.mark.parametrize(
    "sent",
    [
        UPGRADE % b"Origin: https://evil.example\r\n",
        (UPGRADE % b"").replace(b"EIO=4", b"EIO=4&sid=unknown"),
        (UPGRADE % b"").replace(b"EIO=4", b"EIO=3"),
        UPGRADE.replace(b"socket.io", b"elsewhere") % b"",
    ],
    ids=["origin", "session", "version", "path"],
)
def test_a_handshake_that_is_refused_is_answered_and_no_fault_of_the_application(
    start_server: StartServer, sent: bytes
) -> None:
    server = start_server("uvicorn", {})
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            client.sendall(sent)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
            assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 403"))
    assert "handshake" not in server.log_text()
    assert "Traceback" not in server.log_text()


def test_forms_of_strangers_do_not_fill_the_log(live: LiveServer) -> None:
    before = len(live.log_text().splitlines())
    fields = "&".join(f"field{number}=1" for number in range(10_001))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    with httpx.Client(base_url=live.url, timeout=20) as client:
        client.get("/admin/login/")  # for the cookie
        for _ in range(5):
            assert client.post("/", content="a=1", headers=form).status_code == 403
            many = client.post("/admin/login/", content=fields, headers=form)
            assert many.status_code == 400

    lines = live.log_text().splitlines()[before:]
    assert [line.partition("WARNING ")[2].partition(":")[0] for line in lines] == [
        "django.security.csrf",
        "django.security.TooManyFieldsSent",
    ]
