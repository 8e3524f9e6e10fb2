"""Access to the database from the event loop: a few threads, and deadlines.

Django's own `sync_to_async` holds a thread for each request as long as the request
lasts, which is minutes for a streamed answer. Here a call borrows one of a few threads,
and returns the thread and its connection when it is done, so hundreds of waiting
streams hold neither.

Reads have separate threads, so they do not queue behind writers that wait for a lock,
and the batches of turns have one, so no other writer keeps them waiting. A call that
reaches its deadline fails, and during an outage every call fails immediately.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, OperationalError, connections

from llmchat.outages import Outage

T = TypeVar("T")

# Enough that one slow query does not delay the others; SQLite has one writer anyway.
THREADS = 3
_READERS = 4
# How long a call may take, and how long it may wait for a thread before that. During an
# outage calls fail immediately, so threads are free.
DEADLINE_S = 5.0
QUEUE_S = 10.0

# Set by the server. Commands such as `migrate` have no deadline.
is_serving = False

_writers = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="database")
# Whatever holds those threads, turns begin and end.
_batches = ThreadPoolExecutor(max_workers=1, thread_name_prefix="books")
_readers = ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="reading")
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
_is_probing: ContextVar[bool] = ContextVar("is_probing", default=False)


class Overdue(Exception):  # noqa: N818  # an engine's error derives from it
    """The deadline of the caller has passed."""


async def in_database(call: Callable[..., T], *args: object) -> T:
    """Run `call(*args)` in a thread that may use the ORM, and return its result.

    Cancelling the caller does not stop a call that has begun.

    Raises: OperationalError, if the database does not answer in time.
    """
    return await _write_in(_writers, call, args)


async def store_in_database(call: Callable[..., T], *args: object) -> T:
    """Run `call(*args)`, which stores a batch of turns, in the thread for these.

    Raises: OperationalError, if the database does not answer in time.
    """
    return await _write_in(_batches, call, args)


async def read_database(call: Callable[..., T], *args: object) -> T:
    """Run `call(*args)` in a thread for reads, and return its result."""
    return await _run_in(_readers, call, args)


async def _write_in(
    threads: ThreadPoolExecutor, call: Callable[..., T], args: tuple[object, ...]
) -> T:
    if outage.lasts:
        raise OperationalError(_AWAY)
    return await _run_in(threads, call, args)


async def _run_in(
    threads: ThreadPoolExecutor, call: Callable[..., T], args: tuple[object, ...]
) -> T:
    work = threads.submit(_run, call, args)
    waiter = asyncio.wrap_future(work)
    try:
        done, _ = await asyncio.wait([waiter], timeout=QUEUE_S)
    except asyncio.CancelledError:
        waiter.cancel()
        raise
    # A call that has begun ends at its own deadline at the latest: wait for its result.
    if not done and work.cancel():
        raise OperationalError("no thread was free for the database in time")
    return await waiter


def _run(call: Callable[..., T], args: tuple[object, ...]) -> T:
    with until(time.monotonic() + DEADLINE_S):
        try:
            return call(*args)
        except Exception as exc:
            if _is_locked(exc) or _is_locked(exc.__cause__):
                # Before this thread takes its next call, which would wait as long for
                # nothing.
                outage.begin(exc.__cause__ or exc)
            raise
        finally:
            _give_back_connections()


def _give_back_connections() -> None:
    for connection in connections.all(initialized_only=True):
        # The end of a transaction failed halfway, and no error reports it.
        if not (connection.autocommit or connection.in_atomic_block):
            connection.close()
        # An open file costs nothing, and closing the last connection makes SQLite
        # checkpoint its write-ahead log, which is slow.
        if connection.vendor != "sqlite" or connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()


# Deadlines.


@contextmanager
def until(moment: float, *, probing: bool = False) -> Iterator[None]:
    """Set the deadline of the calls inside to `moment` (monotonic)."""
    tokens = _deadline.set(moment), _is_probing.set(probing)
    try:
        yield
    finally:
        _deadline.reset(tokens[0])
        _is_probing.reset(tokens[1])


@contextmanager
def paused() -> Iterator[None]:
    """Postpone the deadline by the time that the block takes.

    For blocks that need no database, or that give each transaction its own deadline.
    """
    began = time.monotonic()
    try:
        yield
    finally:
        if (moment := _deadline.get()) is not None:
            _deadline.set(moment + time.monotonic() - began)


def deadline() -> float | None:
    """Return the caller's deadline, None for a command, which can wait longer."""
    moment = _deadline.get()
    if moment is None and is_serving:
        return time.monotonic() + DEADLINE_S
    return moment


def overdue(moment: float) -> str:
    """Return why a caller should stop waiting, "" if it may keep waiting."""
    if time.monotonic() >= moment:
        return "the database did not answer in time"
    return _AWAY if outage.lasts and not _is_probing.get() else ""


# Outages.

_AWAY = "the database does not answer"


def note_failure(exc: BaseException) -> None:
    """Probe the database if a call failed because of a lock; called with its error."""
    if _is_locked(exc):
        outage.suspect()


def sqlstate(exc: BaseException) -> str | None:
    """Return the SQLSTATE of an error from PostgreSQL, None for any other error."""
    return getattr(exc.__cause__, "sqlstate", None)


def is_contended(exc: BaseException) -> bool:
    """Return whether PostgreSQL reports that another transaction was in the way."""
    return sqlstate(exc) in ("55P03", "40P01")


def _is_locked(exc: BaseException | None) -> bool:
    """Return whether an error is SQLite's "database is locked".

    PostgreSQL's errors are left out: its report of a deadlock says "blocked".
    """
    is_sqlite = isinstance(exc, OperationalError) and sqlstate(exc) is None
    return is_sqlite and "locked" in str(exc)


def _probe() -> None:
    engine: Any = connections[DEFAULT_DB_ALIAS]
    engine.probe()


outage = Outage("the database", _probe, meanwhile="queries fail immediately")
