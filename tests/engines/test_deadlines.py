"""The threads of the database, and what happens to calls that wait for them."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection, transaction
from psycopg.errors import DeadlockDetected

from accounts import hashers
from llmchat import database, outages
from llmchat.access import fetching, keytest
from llmchat.database import THREADS, in_database, read_database
from llmchat.models import Provider
from llmchat.outages import Outage
from serving.hashers import PasswordHasher
from tests.support.busy_writers import LIMIT_S, busy_writers
from tests.support.redis_server import end


async def test_a_call_that_waits_too_long_for_a_thread_is_refused_and_never_runs(
    monkeypatch,
):
    ran = []
    async with busy_writers() as calls:
        monkeypatch.setattr(database, "QUEUE_S", 0.2)
        with pytest.raises(OperationalError):
            await in_database(ran.append, 1)
    assert await asyncio.gather(*calls) == [True] * THREADS
    monkeypatch.undo()
    await in_database(lambda: None)
    assert ran == []


@pytest.mark.django_db(transaction=True)
async def test_a_transaction_that_ends_halfway_spoils_no_later_call(monkeypatch):
    def fail(is_on: bool) -> None:
        if is_on:
            raise RuntimeError("not now")
        usual(is_on)

    def end_halfway() -> None:
        monkeypatch.setattr(connection, "_set_autocommit", fail)
        with transaction.atomic():
            pass

    def hear_of_a_commit() -> None:
        transaction.on_commit(lambda: heard.append("committed"))

    heard: list[str] = []
    with ThreadPoolExecutor(1) as one:
        monkeypatch.setattr(database, "_writers", one)
        usual = await in_database(lambda: connection._set_autocommit)
        with pytest.raises(RuntimeError, match="not now"):
            await in_database(end_halfway)
        one.submit(monkeypatch.undo).result()
        monkeypatch.setattr(database, "_writers", one)
        await in_database(hear_of_a_commit)
        one.submit(lambda: connection.close()).result()
    assert heard == ["committed"]


async def test_a_call_that_has_begun_is_waited_for(monkeypatch):
    """Its outcome counts: a turn that is stored has begun."""
    begun, go = threading.Event(), threading.Event()

    def call() -> str:
        begun.set()
        go.wait(LIMIT_S)
        return "stored"

    monkeypatch.setattr(database, "QUEUE_S", 1.0)
    calling = asyncio.ensure_future(in_database(call))
    await asyncio.to_thread(begun.wait, LIMIT_S)
    await asyncio.wait([calling], timeout=1.5)
    assert not calling.done()
    go.set()
    assert await calling == "stored"


async def test_reads_do_not_queue_behind_writers():
    async with busy_writers():
        assert await read_database(lambda: "read") == "read"


async def test_a_call_whose_caller_has_gone_while_it_waited_does_not_run():
    ran = []
    async with busy_writers():
        calling = asyncio.ensure_future(in_database(ran.append, 1))
        await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
    await in_database(lambda: None)
    assert ran == []


async def test_a_call_knows_its_deadline():
    def left() -> float:
        return (database.deadline() or 0) - time.monotonic()

    assert 0 < await in_database(left) <= database.DEADLINE_S


def test_who_waits_to_hash_a_password_has_as_long_for_the_database(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(database, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(database, "is_serving", False)

    @contextmanager
    def long_turn():
        now[0] += 30
        yield

    monkeypatch.setattr(hashers._turns, "turn", long_turn)
    with database.until(1005.0):
        hasher = PasswordHasher()
        assert hasher.verify("right", hasher.encode("right", "salt", 1))
        assert database.overdue(database.deadline()) == ""
        assert database.deadline() == 1005.0 + 60
    assert database.deadline() is None


@pytest.mark.django_db
def test_who_waits_for_a_provider_has_as_long_for_the_database(monkeypatch):
    now = [time.monotonic()]
    monkeypatch.setattr(database, "time", SimpleNamespace(monotonic=lambda: now[0]))

    async def slow_answers(cases):
        now[0] += 30
        return [("", "It works.") for _ in cases]

    async def slow_list(provider, key):
        now[0] += 20
        return []

    monkeypatch.setattr(keytest, "_ask_all", slow_answers)
    monkeypatch.setattr(fetching, "list_models", slow_list)
    row = Provider.objects.create(
        name="slow", label="Slow", base_url="http://127.0.0.1:9", needs_key=False
    )
    ends_at = now[0] + 5
    with database.until(ends_at):
        assert [trial.works for trial in keytest.try_providers([row])] == [True]
        assert database.deadline() == ends_at + 30
        assert fetching.fetch_models(row).is_done
        assert database.deadline() == ends_at + 50
        assert database.overdue(database.deadline()) == ""


def test_only_a_server_sets_deadlines(monkeypatch):
    monkeypatch.setattr(database, "is_serving", False)
    assert database.deadline() is None
    monkeypatch.setattr(database, "is_serving", True)
    assert database.deadline() > time.monotonic()


async def test_writes_are_refused_at_once_while_an_outage_lasts(monkeypatch):
    monkeypatch.setattr(database.outage, "lasts", True)
    with pytest.raises(OperationalError):
        await in_database(lambda: None)
    assert await read_database(lambda: "read") == "read"


@pytest.mark.parametrize(
    ("words", "cause", "is_outage"),
    [
        ("database is locked", sqlite3.OperationalError(), True),
        ("deadlock detected: 1 is blocked by 2", DeadlockDetected(), False),
    ],
    ids=["sqlite", "postgresql"],
)
async def test_who_is_blocked_by_another_is_no_outage(
    monkeypatch, words, cause, is_outage
):
    """PostgreSQL ends a deadlock by itself; a lock of SQLite may be held for long."""
    begun: list[object] = []
    monkeypatch.setattr(database.outage, "begin", begun.append)

    def fail() -> None:
        raise OperationalError(words) from cause

    with pytest.raises(OperationalError):
        await in_database(fail)
    assert bool(begun) is is_outage


@pytest.fixture
def probes(monkeypatch):
    probes = Probes()
    monkeypatch.setattr(outages, "PROBE_EVERY_S", 0.05)
    times = SimpleNamespace(monotonic=time.monotonic, sleep=probes.over.wait)
    monkeypatch.setattr(outages, "time", times)
    yield probes
    probes.over.set()
    end(probes.outage)


class Probes:
    """An outside service that fails as long as `fails` is set."""

    def __init__(self) -> None:
        self.fails = True
        self.count = 0
        self.over = threading.Event()  # ends the pauses between the probes
        self.outage = Outage("it", self.probe, meanwhile="that is that")

    def probe(self) -> None:
        self.count += 1
        if self.fails:
            raise OSError("no")

    async def until(self, *, lasts: bool) -> None:
        async with asyncio.timeout(LIMIT_S):
            while True:
                if self.outage.lasts is lasts and (lasts or self.is_quiet):
                    return
                await asyncio.sleep(0.01)

    @property
    def is_quiet(self) -> bool:
        return not self.outage._is_probing


async def test_an_outage_is_told_once_and_ends_by_a_probe(probes, caplog):
    caplog.set_level("INFO", "llmchat.outages")
    for _ in range(5):
        probes.outage.begin("gone")
    assert probes.outage.lasts
    probes.fails = False
    await probes.until(lasts=False)
    assert caplog.messages == [
        "it does not answer, that is that: gone",
        "it answers again",
    ]


async def test_what_fails_in_spite_of_its_probe_does_not_flap(
    probes, monkeypatch, caplog
):
    caplog.set_level("INFO", "llmchat.outages")
    probes.fails = False
    probes.outage.begin("gone")
    await probes.until(lasts=False)
    monkeypatch.setattr(outages, "PROBE_EVERY_S", 60)
    for _ in range(3):
        probes.outage.begin("gone again")
        await asyncio.sleep(0.02)
        assert probes.outage.lasts
    assert probes.count == 1
    assert caplog.messages == [
        "it does not answer, that is that: gone",
        "it answers again",
        "it does not answer, that is that: gone again",
    ]


class Timer:
    """A timer on a simulated clock."""

    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due = due
        self.call = call
        self.waits = False
        self.daemon = False

    def start(self) -> None:
        assert self.daemon  # so that no process waits for it
        self.waits = True

    def cancel(self) -> None:
        self.waits = False

    def look(self, now: float) -> None:
        if self.waits and self.due <= now:
            self.waits = False
            self.call()


class Refuser:
    """A service that answers probes and refuses all else, on a simulated clock."""

    def __init__(self, longest_s: float, monkeypatch) -> None:
        self.now = 1000.0
        self.ends: list[float] = []
        self.timers: list[Timer] = []
        monkeypatch.setattr(outages, "time", self)
        monkeypatch.setattr(threading, "Timer", self.timer)
        self.outage = Outage("it", lambda: None, meanwhile="so", longest_s=longest_s)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def timer(self, seconds: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + seconds, call))
        return self.timers[-1]

    def rest(self, seconds: float) -> None:
        """Let time pass, and run the timers that are due."""
        self.now += seconds
        for timer in self.timers:
            timer.look(self.now)

    def use(self) -> None:
        """Report the service as away; return when the outage has ended."""
        with self.outage._lock:  # its probe waits for this lock
            known = set(threading.enumerate())
        self.outage.begin("full")
        for thread in set(threading.enumerate()) - known:
            thread.join(LIMIT_S)
        assert not self.outage.lasts
        self.ends.append(self.now)


def test_outages_that_follow_each_other_end_ever_more_rarely(monkeypatch, caplog):
    """As with a full Redis, in which a key expires now and then."""
    caplog.set_level("INFO", "llmchat.outages")
    refuser = Refuser(8.0, monkeypatch)
    for _ in range(1000):
        refuser.use()

    apart = [b - a for a, b in itertools.pairwise(refuser.ends)]
    assert apart[:5] == [1, 2, 4, 8, 8]
    assert set(apart[5:]) == {8}
    last = "it does not answer, so: full (it keeps failing: not logged again until 60 s"
    begun, ended = "it does not answer, so: full", "it answers again"
    assert caplog.messages == [begun, ended] * 4 + [f"{last} without an outage)"]

    # A quiet minute ends the last message, and everything is as before.
    caplog.clear()
    assert [timer.waits for timer in refuser.timers[-2:]] == [False, True]
    refuser.rest(outages.QUIET_S - 1)
    assert caplog.messages == []
    refuser.rest(1)
    assert caplog.messages == [ended]
    caplog.clear()
    refuser.rest(7 * 24 * 3600)
    assert caplog.messages == []
    well = refuser.now
    refuser.use()
    assert refuser.now == well
    assert caplog.messages == [begun, ended]


def test_a_minute_that_is_not_quiet_ends_nothing(monkeypatch, caplog):
    caplog.set_level("INFO", "llmchat.outages")
    refuser = Refuser(2.0, monkeypatch)
    for _ in range(5):
        refuser.use()
    caplog.clear()
    late = [timer for timer in refuser.timers if timer.waits]
    for _ in range(3):
        refuser.rest(outages.QUIET_S - 1)
        refuser.use()
    for timer in late:  # each was about to log when the next outage began
        timer.call()
    assert caplog.messages == []
    refuser.rest(outages.QUIET_S)
    assert caplog.messages == ["it answers again"]


def test_without_a_thread_that_waits_the_end_is_told_at_once(monkeypatch, caplog):
    caplog.set_level("INFO", "llmchat.outages")
    refuser = Refuser(2.0, monkeypatch)
    monkeypatch.setattr(Timer, "start", _no_thread)
    for _ in range(3):
        refuser.use()
    assert caplog.messages[-2:] == [
        f"it does not answer, so: full (it keeps failing: not logged again until "
        f"{outages.QUIET_S:g} s without an outage)",
        "it answers again",
    ]


def test_what_refuses_meanwhile_is_away_for_a_second_more_at_most(monkeypatch, caplog):
    """Such as the database: nothing works without it, so each outage is logged."""
    caplog.set_level("INFO", "llmchat.outages")
    refuser = Refuser(outages.PROBE_EVERY_S, monkeypatch)
    for _ in range(20):
        refuser.use()

    assert {b - a for a, b in itertools.pairwise(refuser.ends)} == {1}
    assert len(caplog.messages) == 40


async def test_a_suspicion_is_no_outage_before_the_probe_has_failed(probes, caplog):
    probes.fails = False
    probes.outage.suspect()
    await probes.until(lasts=False)
    assert (probes.count, caplog.messages) == (1, [])
    await asyncio.sleep(outages.PROBE_EVERY_S)
    probes.fails = True
    probes.outage.suspect()
    await probes.until(lasts=True)
    probes.fails = False
    await probes.until(lasts=False)


async def test_suspicions_are_probed_once_at_a_time(probes, monkeypatch):
    monkeypatch.setattr(outages, "PROBE_EVERY_S", 60)
    probes.fails = False
    for _ in range(100):
        probes.outage.suspect()
    await probes.until(lasts=False)
    for _ in range(100):
        probes.outage.suspect()
    await probes.until(lasts=False)
    assert probes.count == 1


async def test_there_is_no_outage_that_no_probe_could_end(probes, monkeypatch):
    """As when the system can start no more threads."""
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _no_thread)
        probes.outage.begin("gone")
        probes.outage.suspect()
        assert not probes.outage.lasts
    probes.outage.begin("gone")
    probes.fails = False
    await probes.until(lasts=False)
    assert probes.count


def _no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
