"""The master process of several workers: it starts, replaces and stops them."""

from __future__ import annotations

import logging
import os
import signal
import time
from socket import socket

from uvicorn import Config
from uvicorn.supervisors import Multiprocess, multiprocess

from llmchat import cache
from serving import master

logger = logging.getLogger(__name__)

_STOPS = (signal.SIGINT, signal.SIGTERM)
# How often signals are looked for while workers start or stop.
_LISTEN_S = 0.2


class Supervisor(Multiprocess):
    """uvicorn's supervisor, which also hurries its workers and logs those that die.

    It always listens for signals to stop: they do not wait until a restart is over.
    """

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self._heard: set[int] = set()
        self._hurries = False
        # Workers that were told to stop, and are no longer among `processes`.
        self._leaving: list[multiprocess.Process] = []

    def handle_signals(self) -> None:
        """Handle the queued signals; a handler that takes long listens for new ones."""
        while self.signal_queue:
            name = multiprocess.SIGNALS[self.signal_queue.pop(0)].lower()
            handle = getattr(self, f"handle_{name}", None)
            if handle is not None:
                handle()

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

    def handle_ttou(self) -> None:
        """Stop one worker, unless it is the last; called with SIGTTOU."""
        if self.processes_num > 1:
            self.processes_num -= 1
            self._retire(self.processes.pop())

    def restart_all(self) -> None:
        """Replace each worker with a new one that is ready, until all are to stop."""
        for place, old in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            new = multiprocess.Process(self.config, self.sockets)
            new.start()
            if not self._is_ready(new):
                new.kill()
                new.join()
                if not self.should_exit.is_set():
                    logger.error(
                        "worker %s was not ready in time: worker %s keeps running, and"
                        " the restart is cancelled",
                        new.pid,
                        old.pid,
                    )
                return
            self.processes[place] = new
            self._retire(old)

    def _is_ready(self, worker: multiprocess.Process) -> bool:
        ends_at = time.monotonic() + self.config.timeout_worker_healthcheck
        while not worker.wait_until_ready(_LISTEN_S, self.should_exit):
            self._listen()
            is_late = time.monotonic() >= ends_at
            if is_late or self.should_exit.is_set() or worker.exitcode is not None:
                return False
        return True

    def _retire(self, worker: multiprocess.Process) -> None:
        """Stop a worker, and wait until it ends or until all workers are to stop."""
        worker.terminate()
        self._leaving.append(worker)
        while worker.exitcode is None and not self.should_exit.is_set():
            worker.process.join(_LISTEN_S)
            self._listen()
        if worker.exitcode is not None:
            self._leaving.remove(worker)

    def join_all(self) -> None:
        """Wait for the workers to end; hurry them if a stop signal is repeated."""
        workers = [*self.processes, *self._leaving]
        for worker in workers:
            while worker.exitcode is None:
                worker.process.join(_LISTEN_S)
                self._listen()
                self._hurry(workers)

    def _listen(self) -> None:
        """Handle signals to stop; leave all others in the queue."""
        for number in tuple(self.signal_queue):
            if number in _STOPS:
                self.signal_queue.remove(number)
                self._stop(number)

    def _hurry(self, workers: list[multiprocess.Process]) -> None:
        if self._hurries:
            self._hurries = False
            for worker in workers:
                if worker.exitcode is None and worker.pid is not None:
                    os.kill(worker.pid, master.HURRY)

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have died, and log each of them."""
        cache.tell_workers()
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
