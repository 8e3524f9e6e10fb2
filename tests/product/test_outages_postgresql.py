"""PostgreSQL hangs, dies or runs out of space, while clients continue to ask.

As in test_outages.py, the outages are as short as the deadlines allow, or 20 seconds
with `make stress`.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import secrets
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import psycopg
import pytest

from accounts.remembered import KEPT_S
from llmchat.api.moves import PATIENCE_S
from tests.conftest import StartServer
from tests.postgres import (
    PACKAGE,
    patient_start,
    running_postgres,
    seed_postgres,
)
from tests.support import live
from tests.support.outages import (
    ALL,
    PATIENCE,
    Column,
    assert_stored,
    endure,
    family,
    suspended,
)
from tests.support.provider_lab import ThreadedEmulator, emulated, environment
from tests.support.stock_client import connected_client
from tests.support.stress import STRESSED
from tests.support.visitors import (
    DONE,
    ERROR,
    HELD,
    Visitor,
    answer_or_hold,
    go_on,
    visitor,
)

pytestmark = pytest.mark.timeout(300)

FIRST_S = 6.0
GONE = Column(
    refused=frozenset(ALL) - {"new socket"},
    # A user who connected a moment ago is still remembered.
    unsure=frozenset({"new socket"}),
    ends=frozenset({ERROR}),
    first_s=FIRST_S,
)
# What needs no more space is stored, so only large messages must be refused.
FULL = Column(
    refused=frozenset({"turn", "rest turn"}),
    unsure=frozenset({"log in", "admin"}),
    ends=frozenset({DONE, ERROR}),
    first_s=FIRST_S,
)
USERS = 13  # four for each test with visitors
# Longer than a client that comes back waits for the database.
AWAY_S = FIRST_S + PATIENCE_S
TOLD = "the database does not answer, queries fail immediately"


@pytest.fixture(scope="module")
def disk() -> Iterator[Path | None]:
    """A separate disk with little space; None if mounting it is not permitted."""
    with tempfile.TemporaryDirectory(prefix="llmchat-disk-") as directory:
        Path(directory).chmod(0o755)
        mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", directory]
        is_mounted = not subprocess.run(mount, capture_output=True).returncode
        yield Path(directory) if is_mounted else None
        if is_mounted:
            subprocess.run(["umount", directory], check=True)


@pytest.fixture(scope="module")
def url(disk: Path | None) -> Iterator[str]:
    """A PostgreSQL that loses nothing when it is killed, its tables on that disk."""
    with running_postgres(durable=STRESSED) as address:
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_commit = on")
            connection.execute("SELECT pg_reload_conf()")
            if disk is not None:
                place, owner = disk / "tables", data_of(address).stat()
                place.mkdir()
                os.chown(place, owner.st_uid, owner.st_gid)
                connection.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
                connection.execute(
                    "ALTER DATABASE postgres SET default_tablespace = small"
                )
        yield address


def data_of(address: str) -> Path:
    return Path(address.partition("host=")[2])


def postmaster(address: str) -> int:
    return int((data_of(address) / "postmaster.pid").read_text().split()[0])


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedEmulator]:
    with emulated(answer_or_hold) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def accounts(url: str) -> Iterator[live.Account]:
    return iter(seed_postgres(url, users=USERS))


@pytest.fixture(scope="module")
def app(
    url: str,
    accounts: Iterator[live.Account],
    start_server: StartServer,
    upstream: ThreadedEmulator,
) -> live.LiveServer:
    return start_server("uvicorn", environment(upstream, DATABASE_URL=url, **PATIENCE))


@asynccontextmanager
async def two_visitors(
    app: live.LiveServer, accounts: Iterator[live.Account], url: str, *, outages: int
) -> AsyncIterator[list[Visitor]]:
    """Yield two users; the ends that they received must be stored when they leave.

    The log must report each outage once.
    """

    def rows(query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            return connection.execute(query.encode()).fetchall()

    take, before = accounts.__next__, app.log_text().count(TOLD)
    async with visitor(app, take) as someone, visitor(app, take) as other:
        yield [someone, other]
        await assert_stored(someone.told + other.told, rows)
    log = app.log_text()
    assert log.count(TOLD) == before + outages
    assert "Traceback" not in log
    assert "Service Unavailable" not in log


async def test_postgresql_hangs(app, accounts, url, upstream):
    async with two_visitors(app, accounts, url, outages=1) as visitors:
        await endure(suspended(postmaster(url)), GONE, *visitors, upstream)


async def test_a_client_that_comes_back_meanwhile_gets_what_it_has_missed(
    app, accounts, url, upstream
):
    """The stock client: it is sent away until the database is back, never refused."""
    model = f"{HELD}by-a-return"
    async with connected_client(app.url, next(accounts).access) as client:
        await client.start("s-1", "Hi", provider="openai", model=model)
        await client.event("llm:stream:token")
        with suspended(postmaster(url)):
            # Its user is no longer remembered when it comes back.
            await asyncio.sleep(KEPT_S)
            await client.drop()
            await client.on("disconnect")
            go_on(upstream, model)
            await asyncio.sleep(AWAY_S)
        back = await client.until(lambda r: r["on"].startswith("connect"), "connect")
        end = (await client.stream("s-1"))[-1]

    assert (back["on"], back["recovered"]) == ("connect", True)
    # What was to be stored meanwhile could not be.
    assert end[0] == ERROR
    assert end[1]["code"] == "database_unavailable"
    assert end[1]["partialResponse"] == f"{model} ends."


async def test_postgresql_is_killed(app, accounts, url, upstream):
    async with two_visitors(app, accounts, url, outages=1) as visitors:
        await endure(killed(url), GONE, *visitors, upstream)


@contextmanager
def killed(address: str) -> Iterator[None]:
    """Kill all of PostgreSQL's processes, and start it again at the end."""
    for number in family(postmaster(address)):
        os.kill(number, signal.SIGKILL)
    try:
        yield
    finally:
        with patient_start():
            server = importlib.import_module(PACKAGE).get_server(data_of(address))
            server.ensure_postgres_running()


async def test_the_disk_is_full(app, accounts, url, upstream, disk):
    if disk is None:
        pytest.skip("only root can mount a disk")
    async with two_visitors(app, accounts, url, outages=0) as (someone, other):
        someone.text = secrets.token_hex(100_000)
        await endure(filled(disk), FULL, someone, other, upstream)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Leave no space on a disk."""
    filling = disk / "filling"
    try:
        with filling.open("wb", buffering=0) as file:
            while fits(file, bytes(4096)):
                pass
        yield
    finally:
        filling.unlink()


def fits(file: FileIO, data: bytes) -> bool:
    try:
        return file.write(data) == len(data)
    except OSError as exc:
        if exc.errno == errno.ENOSPC:
            return False
        raise
