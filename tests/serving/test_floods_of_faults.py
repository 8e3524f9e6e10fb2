"""What clients that violate the protocols can write to the log: next to nothing."""

from __future__ import annotations

import socket
import time
from collections import Counter
from contextlib import suppress

import httpx

from serving.logs import _PEERS_FAULTS, INTERVAL_S
from tests.support.live import LiveServer

TIMES = 5
LIMIT_S = 10.0

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
)
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
ACCEPTED = UPGRADE + KEY + VERSION + b"\r\n"
MASK = bytes(4)

# By what is wrong with it: what is sent in one piece, and what follows the response.
FAULTS: dict[str, tuple[bytes, bytes]] = {
    "no HTTP": (b"\x16\x03\x01\x02\x00 no HTTP\r\n\r\n", b""),
    "no version of HTTP": (b"GET / HTTP\r\n\r\n", b""),
    "a bad header": (b"GET / HTTP/1.1\r\nno header\r\n\r\n", b""),
    "two lengths": (
        b"POST /llm/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
        b"Content-Length: 2\r\n\r\n",
        b"",
    ),
    "a bad length": (
        b"POST /llm/chat HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"",
    ),
    "bad chunks": (
        b"POST /llm/chat HTTP/1.1\r\nHost: x\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"",
    ),
    "an unknown coding": (
        b"POST /llm/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n",
        b"",
    ),
    "a path that is no text": (b"GET /\xff\xfe%ff HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "a method in lower case": (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "a proxy's method": (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "a wrong host": (b"GET /llm/providers HTTP/1.1\r\nHost: a_b/\r\n\r\n", b""),
    "a handshake without a key": (UPGRADE + VERSION + b"\r\n", b""),
    "a handshake with a bad key": (
        UPGRADE + VERSION + b"Sec-WebSocket-Key: x\r\n\r\n",
        b"",
    ),
    "a handshake of another version": (
        UPGRADE + KEY + b"Sec-WebSocket-Version: 7\r\n\r\n",
        b"",
    ),
    "a handshake without a version": (UPGRADE + KEY + b"\r\n", b""),
    "a handshake with bad headers": (
        UPGRADE + KEY + VERSION + b"Sec-WebSocket-Extensions: ;;=,\r\n\r\n",
        b"",
    ),
    "a handshake with a body that is no text": (
        UPGRADE + KEY + VERSION + b"X-Odd: \xff\xfe\r\n\r\n",
        b"",
    ),
    "another upgrade": (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"",
    ),
    "a handshake elsewhere": (ACCEPTED.replace(b"/socket.io/", b"/elsewhere/"), b""),
    "a foreign origin": (
        ACCEPTED[:-2] + b"Origin: https://elsewhere.example\r\n\r\n",
        b"",
    ),
    "an origin that is none": (ACCEPTED[:-2] + b"Origin: x y\r\n\r\n", b""),
    "a handshake with a bad address": (
        ACCEPTED.replace(b"/socket.io/?", b"//[x/socket.io/?"),
        b"",
    ),
    "a handshake with a fragment": (ACCEPTED.replace(b"?EIO", b"#?EIO"), b""),
    "a handshake of a bad host": (
        ACCEPTED.replace(b"Host: localhost", b"Host: [::1"),
        b"",
    ),
    "a handshake of a bad port": (
        ACCEPTED.replace(b"Host: localhost", b"Host: localhost:x"),
        b"",
    ),
    "a handshake that posts": (
        ACCEPTED.replace(b"GET", b"POST")[:-2] + b"Content-Length: 3\r\n\r\nabc",
        b"",
    ),
    "a bad address": (b"GET http://[x/y HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "a bad form": (
        b"POST /auth/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
        b"Content-Type: multipart/form-data; boundary=\xff\r\n\r\nabcd",
        b"",
    ),
    "a form without a boundary": (
        b"POST /auth/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
        b"Content-Type: multipart/form-data\r\n\r\nabcd",
        b"",
    ),
    "an origin of no address": (
        ACCEPTED[:-2] + b"Origin: http://[x\r\n\r\n",
        b"",
    ),
    "an origin of a bad port": (
        ACCEPTED[:-2] + b"Origin: http://x:y\r\n\r\n",
        b"",
    ),
    "a bad subprotocol": (
        ACCEPTED[:-2] + b"Sec-WebSocket-Protocol: a, a\r\n\r\n",
        b"",
    ),
    "a frame without a mask": (ACCEPTED, b"\x81\x011"),
    "a frame of another kind": (ACCEPTED, b"\x83\x80" + MASK),
    "reserved bits": (ACCEPTED, b"\xf1\x80" + MASK),
    "a text that is none": (ACCEPTED, b"\x81\x82" + MASK + b"\xff\xfe"),
    "a piece without a beginning": (ACCEPTED, b"\x80\x81" + MASK + b"x"),
    "a long ping": (ACCEPTED, b"\x89\xfe\x01\x00" + MASK + bytes(256)),
    "a pong that was not asked for": (ACCEPTED, b"\x8a\x80" + MASK),
    "a close of another code": (ACCEPTED, b"\x88\x82" + MASK + b"\x00\x01"),
    "a frame that is too long": (ACCEPTED, b"\x82\xff\x7f" + b"\xff" * 7 + MASK),
    "half a frame": (ACCEPTED, b"\x81\xfe\x01"),
    "no packet": (ACCEPTED, b"\x81\x81" + MASK + b"x"),
}


def meet(server: LiveServer, first: bytes, then: bytes) -> None:
    """Send a client's faulty bytes, read what comes, and hang up."""
    address = "127.0.0.1", server.port
    with suppress(OSError), socket.create_connection(address, LIMIT_S) as client:
        client.settimeout(0.05)
        for sent in filter(None, (first, then)):
            client.sendall(sent)
            with suppress(TimeoutError):
                client.recv(65536)


def lines_of(server: LiveServer) -> list[str]:
    """Return what is in the log, without daphne's line about each request."""
    lines = server.log_text().splitlines()
    return [line for line in lines if not line.startswith("127.0.0.1:")]


def test_of_each_kind_of_fault_there_is_a_line_a_minute_at_most(
    server: LiveServer,
) -> None:
    before, began = len(lines_of(server)), time.monotonic()
    for fault in FAULTS.values():
        for _ in range(TIMES):
            meet(server, *fault)
    assert httpx.get(f"{server.url}/healthz", timeout=LIMIT_S).status_code == 200
    minutes = 1 + int((time.monotonic() - began) / INTERVAL_S)

    said = lines_of(server)[before:]
    kinds = Counter(_known_kind(line) for line in said)
    assert all(count <= minutes for count in kinds.values()), said
    # By default, daphne discards what the libraries below it log.
    assert bool(kinds) is (server.kind == "uvicorn")


def _known_kind(line: str) -> str:
    (kind,) = [kind for kind in _PEERS_FAULTS if kind in line]
    return kind
