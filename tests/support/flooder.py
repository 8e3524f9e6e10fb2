"""One account that floods a server in every way, in a process of its own.

    python -m tests.support.flooder PORT TOKEN SECONDS WAY…

Bytes are prepared beforehand and sent as fast as the server takes them. A client that
is disconnected reconnects immediately. It prints how often each way was tried.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial

EVENT = '42["flood",{"sessionId":"s"}]'
CANCEL = '42["llm:stream:cancel",{"sessionId":"s"}]'
FRAMES = 30_000
EVENTS = 10_000
SOCKETS = 500
HELD = 100
DRIP_S = 0.05
FILES = 4_096
RS = "\x1e"

_HEADERS = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: "
_POST = (
    b"POST /auth/token HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 90000\r\n\r\n"
)

_UPGRADE = (
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def frame(text: str) -> bytes:
    """Return a text frame, masked with zeros."""
    payload = text.encode()
    size = len(payload)
    head = bytes([0x81, 0x80 | size]) if size < 126 else b"\x81\xfe" + size.to_bytes(2)
    return head + b"\0\0\0\0" + payload


class Flooder:
    """Opens connections of one account and sends too much."""

    def __init__(self, port: int, token: str, seconds: float) -> None:
        self.port = port
        self.connect = "40" + json.dumps({"token": token})
        self.until = time.monotonic() + seconds
        self.gone: dict[str, int] = {}

    def open(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=2)

    def _opened(self, stack: ExitStack, count: int) -> list[socket.socket]:
        """Return `count` connections, or as many as there is time for."""
        opened: list[socket.socket] = []
        while len(opened) < count and time.monotonic() < self.until:
            opened.append(stack.enter_context(self.open()))
        return opened

    def websocket(self) -> socket.socket:
        """Return a WebSocket that has asked to join."""
        connection = self.open()
        connection.sendall(_UPGRADE.encode())
        connection.recv(4096)
        connection.sendall(frame(self.connect))
        connection.recv(4096)
        return connection

    def frames(self) -> None:
        """Send a burst of frames."""
        self._burst(frame(EVENT) * FRAMES)

    def cancels(self) -> None:
        """Send a burst of cancels, which are obeyed even above the limit."""
        self._burst(frame(CANCEL) * FRAMES)

    def _burst(self, data: bytes) -> None:
        with self.websocket() as connection:
            connection.sendall(data)
            while connection.recv(65536) and time.monotonic() < self.until:
                pass

    def sockets(self) -> None:
        """Open many WebSockets, send a burst on each, and drop them all together."""
        with ExitStack() as stack:
            opened = self._opened(stack, SOCKETS)
            burst = frame(EVENT) * (FRAMES // SOCKETS)
            for data in (_UPGRADE.encode(), frame(self.connect), burst):
                self._each(opened, partial(_send, data=data))
                self._each(opened, _receive)

    def _each(
        self, opened: list[socket.socket], step: Callable[[socket.socket], object]
    ) -> None:
        for connection in opened:
            if time.monotonic() > self.until:
                return
            with suppress(OSError):
                step(connection)

    def silent(self) -> None:
        """Open many connections and send nothing."""
        self._hold(b"", b"")

    def headers(self) -> None:
        """Send heads that never end, byte by byte."""
        self._hold(_HEADERS, b"x")

    def bodies(self) -> None:
        """Send bodies that never end, byte by byte."""
        self._hold(_POST, b" ")

    def _hold(self, begun: bytes, drop: bytes) -> None:
        """Hold many connections until the server has dropped most of them."""
        with ExitStack() as stack:
            held = self._opened(stack, HELD)
            for connection in held:
                connection.sendall(begun)
                connection.setblocking(False)
            while len(held) > HELD // 10 and time.monotonic() < self.until:
                time.sleep(DRIP_S)
                held = [one for one in held if _is_open(one, drop)]

    def payload(self) -> None:
        """Send all events in one POST, again and again."""
        self._poll([RS.join([EVENT] * EVENTS)] * 10)

    def posts(self) -> None:
        """Send events in a POST each."""
        self._poll([EVENT] * EVENTS)

    def _poll(self, bodies: list[str]) -> None:
        with self.open() as connection:
            opened = self._request(connection, "GET", "")
            sid = json.loads(opened[opened.index("{") :])["sid"]
            for body in [self.connect, *bodies]:
                if time.monotonic() > self.until:
                    return
                answer = self._request(connection, "POST", f"&sid={sid}", body)
                if not answer.startswith("HTTP/1.1 200"):
                    return
                self._request(connection, "GET", f"&sid={sid}")

    def _request(
        self, connection: socket.socket, method: str, query: str, body: str = ""
    ) -> str:
        content = body.encode()
        head = (
            f"{method} /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\n"
            f"Host: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        connection.sendall(head.encode() + content)
        return connection.recv(65536).decode(errors="replace")

    def keep_at_it(self, way: Callable[[], None]) -> None:
        """Repeat a way until time is up; the server can break it off at any moment."""
        count = 0
        while time.monotonic() < self.until:
            count += 1
            with suppress(OSError, ValueError):
                way()
        self.gone[way.__name__] = count


def _send(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)


def _receive(connection: socket.socket) -> None:
    connection.recv(4096)


def _is_open(connection: socket.socket, drop: bytes) -> bool:
    """Send a little more; return whether the server still listens."""
    try:
        connection.send(drop)
        return connection.recv(4096) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def main(port: str, token: str, seconds: str, *ways: str) -> None:
    """Flood in these ways, in parallel."""
    # The flood should take the server's time, not that of the measured clients.
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    flooder = Flooder(int(port), token, float(seconds))
    threads = [
        threading.Thread(target=flooder.keep_at_it, args=(getattr(flooder, way),))
        for way in ways
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(flooder.gone))


if __name__ == "__main__":
    main(*sys.argv[1:])
