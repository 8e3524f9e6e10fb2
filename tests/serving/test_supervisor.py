"""The master of several workers, in this process, with workers that are made up."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.supervisors import multiprocess

from serving import master, supervisor
from serving.supervisor import Supervisor


class Worker:
    """A process that ends when it is hurried, or has ended already."""

    def __init__(self, pid: int, exitcode: int | None = None) -> None:
        self.process = self
        self.pid = pid
        self.exitcode = exitcode
        self.waited = threading.Event()

    def start(self) -> None:
        """It takes no time."""

    def is_alive(self, timeout: float) -> bool:
        return self.exitcode is None

    def kill(self) -> None:
        """It has ended."""

    def terminate(self) -> None:
        """It goes on until it is hurried."""

    def join(self, timeout: float | None = None) -> None:
        self.waited.set()


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put back the handlers of the signals that a master handles."""
    before = {number: signal.getsignal(number) for number in multiprocess.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Supervisor]:
    def start(*workers: Worker) -> Supervisor:
        coming = iter(workers)
        monkeypatch.setattr(multiprocess, "Process", lambda *_: next(coming))
        config = Config("none:none", workers=1, log_config=None)
        return Supervisor(config, [])

    return start


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What workers are sent; the real signals of the tests are sent by `tell`."""
    numbers: list[tuple[int, int]] = []
    monkeypatch.setattr(supervisor, "_LISTEN_S", 0)
    return numbers


def hurried(worker: Worker, sent: list[Any]) -> Callable[[int, int], None]:
    def kill(pid: int, number: int) -> None:
        sent.append((pid, number))
        worker.exitcode = 0

    return kill


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_same_signal_again_hurries_the_workers(
    start: Any, sent: list[Any], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    worker = Worker(4711)
    supervised = start(worker)
    tell = os.kill
    monkeypatch.setattr(os, "kill", hurried(worker, sent))
    tell(os.getpid(), number)

    def again() -> None:
        worker.waited.wait(10)
        assert not sent
        # Neither another one, nor what is too late by now.
        for other in {signal.SIGINT, signal.SIGTERM, signal.SIGTTIN} - {number}:
            tell(os.getpid(), other)
        tell(os.getpid(), number)

    thread = threading.Thread(target=again)
    thread.start()
    supervised.run()
    thread.join()

    assert sent == [(4711, master.HURRY)]


def test_two_signals_of_one_kind_that_come_at_once_hurry_as_well(
    start: Any, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(4711)
    supervised = start(worker)
    monkeypatch.setattr(os, "kill", hurried(worker, sent))
    supervised.signal_queue += [signal.SIGTERM, signal.SIGTERM]

    supervised.run()

    assert sent == [(4711, master.HURRY)]


@pytest.mark.parametrize(
    ("status", "told"), [(1, "exit status 1"), (-9, "SIGKILL"), (-40, "signal 40")]
)
def test_a_worker_that_has_died_is_told_and_replaced(
    start: Any, caplog: pytest.LogCaptureFixture, status: int, told: str
) -> None:
    dead, other = Worker(1, status), Worker(2)
    supervised = start(dead, other)
    supervised.init_processes()

    for _ in range(2):
        supervised.keep_subprocess_alive()

    assert supervised.processes == [other]
    # uvicorn's own line is of a level that the command does not show.
    shown = [one for one in caplog.records if one.levelno >= logging.WARNING]
    line = f"worker 1 has died ({told}), worker 2 takes its place"
    assert [one.getMessage() for one in shown] == [line]
