"""The master process of several workers: it starts, replaces and stops them."""

from __future__ import annotations

import logging
import os
import signal
from socket import socket

from uvicorn import Config
from uvicorn.supervisors import Multiprocess

from serving import master

logger = logging.getLogger(__name__)

_STOPS = (signal.SIGINT, signal.SIGTERM)
# How often it listens while its workers stop.
_LISTEN_S = 0.2


class Supervisor(Multiprocess):
    """uvicorn's own, which also hurries its workers and tells of those that die."""

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self._heard: set[int] = set()
        self._hurries = False

    def handle_int(self) -> None:
        """Stop; called with SIGINT."""
        self._stop(signal.SIGINT)

    def handle_term(self) -> None:
        """Stop; called with SIGTERM."""
        self._stop(signal.SIGTERM)

    def _stop(self, number: int) -> None:
        self._hurries |= number in self._heard
        self._heard.add(number)
        self.should_exit.set()

    def join_all(self) -> None:
        """Wait for the workers; tell them when somebody does not want to wait."""
        for worker in self.processes:
            while worker.exitcode is None:
                worker.process.join(_LISTEN_S)
                self._listen()

    def _listen(self) -> None:
        while self.signal_queue:
            number = self.signal_queue.pop(0)
            if number in _STOPS:  # what else there is, such as a restart, is too late
                self._stop(number)
        if self._hurries:
            self._hurries = False
            for worker in self.processes:
                if worker.exitcode is None and worker.pid is not None:
                    os.kill(worker.pid, master.HURRY)

    def keep_subprocess_alive(self) -> None:
        """Start others in the place of workers that have died, and tell of them."""
        before = list(self.processes)
        super().keep_subprocess_alive()
        for dead, other in zip(before, self.processes, strict=True):
            if other is not dead:
                logger.warning(
                    "worker %s has died (%s), worker %s takes its place",
                    dead.pid,
                    _how(dead.exitcode),
                    other.pid,
                )


def _how(status: int | None) -> str:
    if status is None or status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # a real-time signal
        return f"signal {-status}"
