"""Outages of what the server depends on, and what all clients get during them."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.support.provider_lab import ThreadedEmulator
from tests.support.visitors import (
    AWAY,
    CANCELLED,
    DONE,
    ERROR,
    OK,
    Cell,
    Told,
    Visitor,
)

# The minimum length of an outage; with 0, it lasts as long as the first requests take.
OUTAGE_S = float(os.environ.get("LLMCHAT_TEST_OUTAGE_S", "0"))
# How often a visitor asks during an outage; no limit of messages must refuse this.
EVERY_S = 0.2
ALL = ("new socket", "turn", "rest", "rest turn", "log in", "admin")
# How long a request may take at most once the outage is known.
THEN_S = 1.5
# Each request gets, on top of its deadline, this many times what it takes without an
# outage: hashing passwords takes time, and on a busy machine so does everything.
USUAL = 4
# Both hash a password, and one of them waits for the other.
HASHED = frozenset({"log in", "admin"})
# Ends that wait to be stored are retried at least every ten seconds.
STORED_S = 30.0

# However long an outage lasts, no provider counts as late.
PATIENCE = {"LLMCHAT_IDLE_TIMEOUT_S": "600", "LLMCHAT_TOTAL_TIMEOUT_S": "900"}

Cells = dict[str, Cell]
Rows = Callable[[str], Iterable[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table in docs/operations.md.

    `refused` are the requests that get `database_unavailable`, `unsure` those that
    might get it. `first_s` is the deadline of requests made before the outage is known,
    `well_s` that of the recovery. `ends` are the events that can report the end of an
    answer that ends during the outage.
    """

    refused: frozenset[str] = frozenset()
    unsure: frozenset[str] = frozenset()
    first_s: float = THEN_S
    well_s: float = 8.0
    ends: frozenset[str] = frozenset({DONE})

    def check(self, cells: Cells, limit_s: float, usual: Cells) -> None:
        """Assert that each request got what it should, and in time."""
        print(cells)
        self._check_outcomes(cells)
        assert not _late(cells, limit_s, usual), cells

    def _check_outcomes(self, cells: Cells) -> None:
        wrong = [n for n, c in cells.items() if c.outcome not in self._allowed(n)]
        assert not wrong, cells

    async def holds(
        self, someone: Visitor, names: Sequence[str], limit_s: float, usual: Cells
    ) -> None:
        """Ask and check; ask once more if it took as long as if a process had stalled.

        A request that waits for something unavailable is late both times.
        """
        cells = await someone.measure(*names)
        if _late(cells, limit_s, usual):
            self._check_outcomes(cells)
            cells = await someone.measure(*names)
        self.check(cells, limit_s, usual)

    def _allowed(self, name: str) -> set[str]:
        if name in self.unsure:
            return {OK, AWAY}
        return {AWAY if name in self.refused else OK}

    def check_ends(self, cells: Cells, usual: Cells) -> None:
        """Assert what became of the answers that ended during the outage."""
        print(cells)
        extra_s = USUAL * usual["turn"].seconds
        assert cells["hang up"].seconds < THEN_S + extra_s
        assert cells["cancel"].outcome == OK
        assert cells["cancel"].seconds < self.first_s + extra_s
        assert cells["end"].outcome in self.ends
        assert cells["end"].seconds < self.first_s + extra_s


def _late(cells: Cells, limit_s: float, usual: Cells) -> list[str]:
    """Return the names of what took too long."""
    return [
        name
        for name, cell in cells.items()
        if cell.seconds > limit_s + USUAL * _seconds(name, usual)
    ]


def _seconds(name: str, usual: Cells) -> float:
    names = HASHED if name in HASHED else {name}
    return max(usual[name].seconds for name in names)


async def endure(
    outage: AbstractContextManager[object],
    column: Column,
    someone: Visitor,
    other: Visitor,
    upstream: ThreadedEmulator,
    *,
    first: Sequence[Awaitable[None]] = (),
    last: Sequence[Awaitable[None]] = (),
) -> None:
    """Do everything during an outage and after it; the visitors note what they get.

    `first` are further calls before the outage is known, `last` are those before it
    ends.
    """
    usual = await someone.measure(*ALL)
    assert {cell.outcome for cell in usual.values()} == {OK}, usual
    with outage:
        began = time.monotonic()
        cells, ends, *_ = await asyncio.gather(
            someone.measure(*ALL), other.end_both(upstream), *first
        )
        column.check(cells, column.first_s, usual)
        column.check_ends(ends, usual)
        await column.holds(someone, ALL, THEN_S, usual)
        await someone.goes_on()
        while time.monotonic() - began < OUTAGE_S:
            await column.holds(someone, ALL[:4], THEN_S, usual)
            await someone.goes_on()
            await asyncio.sleep(EVERY_S)
        await asyncio.gather(*last)
    assert await someone.until_well(column.well_s) < column.well_s
    await Column().holds(someone, ALL, 2 * THEN_S, usual)
    Column().check_ends(await someone.end_both(upstream), usual)
    for visitor in (someone, other):
        await visitor.end_turns()


async def assert_stored(told: list[Told], rows: Rows) -> None:
    """Wait until every end is stored as the clients received it."""
    wanted = {UUID(data["messageId"]).hex: _row(name, data) for name, data in told}
    assert wanted
    query = "SELECT id, state, content, error_code FROM llmchat_message"
    deadline = time.monotonic() + STORED_S
    while True:
        stored = {UUID(str(ident)).hex: tuple(row) for ident, *row in rows(query)}
        lost = {ident for ident, row in wanted.items() if stored.get(ident) != row}
        if not lost or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.1)
    assert not [(wanted[ident], stored.get(ident)) for ident in lost]


def _row(name: str, data: dict[str, Any]) -> tuple[str, str, str]:
    if name == DONE:
        return "complete", data["fullResponse"], ""
    if name == CANCELLED:
        return "cancelled", data["partialResponse"], ""
    assert name == ERROR
    return "error", data["partialResponse"], data["code"]


# Outages.


@contextmanager
def suspended(pid: int) -> Iterator[None]:
    """Suspend a process and its children."""
    members = family(pid)
    for number in members:
        os.kill(number, signal.SIGSTOP)
    try:
        yield
    finally:
        for number in members:
            os.kill(number, signal.SIGCONT)


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [pid, *map(int, children.split())]


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold SQLite's write lock."""
    opened = sqlite3.connect(database, timeout=20, isolation_level=None)
    with closing(opened) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


@contextmanager
def full(database: Path, size: int) -> Iterator[None]:
    """Make a database larger than the size up to which it may grow."""
    opened = sqlite3.connect(database, timeout=20, isolation_level=None)
    with closing(opened) as connection:
        connection.execute("CREATE TABLE filling (data)")
        connection.execute("INSERT INTO filling VALUES (zeroblob(?))", [size])
        try:
            yield
        finally:
            connection.execute("DROP TABLE filling")  # its pages are free now
