"""The master of several workers, in this process, with fake workers."""

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
    """A fake process that ends when it is hurried, or has already ended."""

    def __init__(self, pid: int, exitcode: int | None = None) -> None:
        self.process = self
        self.pid = pid
        self.exitcode = exitcode
        self.waited = threading.Event()
        self.is_ready = True
        self.told_to_stop = 0

    def start(self) -> None:
        """Start, which takes no time."""

    def is_alive(self, timeout: float) -> bool:
        return self.exitcode is None

    def wait_until_ready(self, timeout: float, should_exit: threading.Event) -> bool:
        self.waited.set()
        return self.is_ready

    def kill(self) -> None:
        """End immediately."""
        if self.exitcode is None:
            self.exitcode = -9

    def terminate(self) -> None:
        """Note the request to stop, but continue until hurried."""
        self.told_to_stop += 1

    def join(self, timeout: float | None = None) -> None:
        """Require a time-out: without one, the caller could not handle signals."""
        assert timeout is not None or self.exitcode is not None
        self.waited.set()


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Restore the handlers of the signals that a master handles."""
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
    """The signals that workers are sent; `tell` sends the tests' real signals."""
    numbers: list[tuple[int, int]] = []
    monkeypatch.setattr(supervisor, "_LISTEN_S", 0)
    return numbers


def hurried(worker: Worker, sent: list[Any]) -> Callable[[int, int], None]:
    def kill(pid: int, number: int) -> None:
        sent.append((pid, number))
        worker.exitcode = 0

    return kill


class Queue(list[int]):
    """The signals that a master has received but not handled yet."""

    def __init__(self) -> None:
        self.heard = threading.Event()

    def append(self, number: int) -> None:
        super().append(number)
        self.heard.set()


def listening(supervised: Supervisor) -> Callable[[int], None]:
    """Return a function that sends a signal to this process and waits for its arrival.

    The system may deliver the signal late, to any thread. After the test, nothing would
    handle it, and it would end the process.
    """
    supervised.signal_queue = queue = Queue()
    send, here = os.kill, os.getpid()

    def tell(number: int) -> None:
        queue.heard.clear()
        send(here, number)
        assert queue.heard.wait(10)

    return tell


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_same_signal_again_hurries_the_workers(
    start: Any, sent: list[Any], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    worker = Worker(4711)
    supervised = start(worker)
    tell = listening(supervised)
    monkeypatch.setattr(os, "kill", hurried(worker, sent))
    tell(number)

    def again() -> None:
        worker.waited.wait(10)
        assert not sent
        # Neither another signal hurries, nor one that is too late by now.
        for other in {signal.SIGINT, signal.SIGTERM, signal.SIGTTIN} - {number}:
            tell(other)
        tell(number)

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


def all_hurried(
    workers: list[Worker], sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let each worker end when it is hurried after it was told to stop."""
    by_pid = {worker.pid: worker for worker in workers}

    def kill(pid: int, number: int) -> None:
        assert by_pid[pid].told_to_stop == 1
        sent.append((pid, number))
        by_pid[pid].exitcode = 0

    monkeypatch.setattr(os, "kill", kill)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("leaves", [signal.SIGHUP, signal.SIGTTOU])
def test_who_waits_for_one_worker_is_told_to_stop_all_and_to_hurry(
    start: Any,
    sent: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    leaves: int,
    number: int,
) -> None:
    """A restart, or removing a worker, takes as long as the worker's answers run."""
    workers = [Worker(1), Worker(2), Worker(3)]
    supervised = start(*workers)
    supervised.processes_num = 2
    all_hurried(workers, sent, monkeypatch)
    leaving, staying = (0, [1, 2]) if leaves == signal.SIGHUP else (1, [0])
    supervised.signal_queue.append(leaves)

    def stop() -> None:
        workers[leaving].waited.wait(10)
        supervised.signal_queue.append(number)
        supervised.should_exit.wait(10)
        supervised.signal_queue.append(number)

    thread = threading.Thread(target=stop)
    thread.start()
    supervised.run()
    thread.join()

    pids = [workers[place].pid for place in (leaving, *staying)]
    assert sorted(sent) == [(pid, master.HURRY) for pid in sorted(pids)]


def test_a_restart_replaces_one_worker_after_the_other(
    start: Any, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = [Worker(1), Worker(2)], [Worker(3), Worker(4)]
    supervised = start(*old, *new)
    supervised.processes_num = 2
    supervised.init_processes()
    for worker in old:
        monkeypatch.setattr(worker, "terminate", worker.kill)
    # Other signals wait: this one adds a worker, but there is none left here.
    supervised.signal_queue.append(signal.SIGTTIN)

    supervised.restart_all()

    assert supervised.processes == new
    assert supervised.signal_queue == [signal.SIGTTIN]
    supervised.signal_queue.clear()
    for worker in new:
        worker.exitcode = 0
    supervised.join_all()
    assert sent == []


@pytest.mark.parametrize("stops", [False, True])
def test_a_worker_that_is_not_ready_replaces_none(
    start: Any, sent: list[Any], caplog: pytest.LogCaptureFixture, stops: bool
) -> None:
    old, new = Worker(1), Worker(2)
    supervised = start(old, new)
    supervised.init_processes()
    new.is_ready = False
    # A worker whose start never ends is given up as soon as all are to stop.
    supervised.config.timeout_worker_healthcheck = 10**6 if stops else 0
    if stops:
        supervised.signal_queue.append(signal.SIGTERM)

    supervised.restart_all()

    assert supervised.processes == [old]
    assert (old.told_to_stop, new.exitcode) == (0, -9)
    assert supervised.should_exit.is_set() is stops
    line = (
        "worker 2 was not ready in time: worker 1 keeps running, and the restart is"
        " cancelled"
    )
    assert caplog.messages == ([] if stops else [line])


def test_the_last_worker_stays(start: Any) -> None:
    worker = Worker(1)
    supervised = start(worker)
    supervised.init_processes()
    supervised.signal_queue += [signal.SIGTTOU, signal.SIGUSR2]

    supervised.handle_signals()

    assert (supervised.processes, worker.told_to_stop) == ([worker], 0)


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
    # uvicorn's own line has a level that the command does not show.
    shown = [one for one in caplog.records if one.levelno >= logging.WARNING]
    line = f"worker 1 has died ({told}), worker 2 takes its place"
    assert [one.getMessage() for one in shown] == [line]
