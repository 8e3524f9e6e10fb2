"""Redis and SQLite hang, die and recover, while clients continue to ask.

The bounds are those of docs/operations.md with room for a busy machine. The outages
are as short as the deadlines allow; `make stress` makes them 20 seconds long, with
`LLMCHAT_TEST_OUTAGE_S`. The ends of answers as the clients received them are compared
with what is stored.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llmchat.database import QUEUE_S
from tests.conftest import StartServer
from tests.support import live
from tests.support.outages import (
    PATIENCE,
    Column,
    assert_stored,
    endure,
    full,
    locked,
)
from tests.support.provider_lab import ThreadedEmulator, emulated, environment
from tests.support.redis_server import RedisServer
from tests.support.visitors import (
    AWAY,
    DONE,
    ERROR,
    OK,
    Visitor,
    answer_or_hold,
    timed,
    visitor,
)

pytestmark = pytest.mark.timeout(300)

FIRST_S = 6.0
REDIS = Column()
LOCKED = Column(
    refused=frozenset({"turn", "rest turn", "log in", "admin"}),
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
READS = ("new socket", "rest")
# How many writers wait for SQLite's lock, and how long a read may take beside them.
WRITERS, WRITERS_S = 20, 4.0
PAGE = 4096
LOG_INS = 10


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedEmulator]:
    with emulated(answer_or_hold) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def redis_app(
    redis_server: RedisServer, start_server: StartServer, upstream: ThreadedEmulator
) -> live.LiveServer:
    """The product with a Redis, and limits on log-ins and messages."""
    return start_server(
        "uvicorn",
        environment(
            upstream,
            REDIS_URL=redis_server.url,
            **PATIENCE,
            LLMCHAT_MESSAGES_PER_MINUTE="1000",
            LLMCHAT_LOGIN_ATTEMPTS_PER_MINUTE=str(LOG_INS),
        ),
    )


async def guess_until_refused(someone: Visitor) -> None:
    """Guess passwords until two in a row are refused; a new minute may come between."""
    outcomes: list[str] = []
    while outcomes[-2:] != ["rate_limited"] * 2:
        outcomes.append(await someone.log_in("wrong"))
        assert len(outcomes) < 2 * (LOG_INS + 2), outcomes


def told(server: live.LiveServer) -> list[str]:
    """Return the lines of the log about Redis."""
    return [line for line in server.log_text().splitlines() if "Redis" in line]


@asynccontextmanager
async def two_visitors(server: live.LiveServer) -> AsyncIterator[list[Visitor]]:
    """Yield two users; the ends that they received must be stored when they leave."""
    take = server.account
    async with visitor(server, take) as someone, visitor(server, take) as other:
        yield [someone, other]
        await assert_stored(someone.told + other.told, server.rows)
    assert "Traceback" not in server.log_text()
    assert "Service Unavailable" not in server.log_text()


async def test_redis_hangs(redis_app, redis_server, upstream):
    async with two_visitors(redis_app) as visitors:
        guesses = guess_until_refused(visitors[1])
        outage = redis_server.stopped()
        await endure(outage, REDIS, *visitors, upstream, last=[guesses])
    assert len(told(redis_app)) <= 2
    assert "each process uses its own memory" in told(redis_app)[0]


async def test_a_cancel_does_not_wait_for_redis(redis_app, redis_server):
    """A cancel gets its response in a second, even as the first call of an outage."""
    async with visitor(redis_app, redis_app.account) as someone:
        with redis_server.stopped():
            cell = await timed(someone.cancel())
    assert cell.outcome == OK
    assert cell.seconds < 1.0


@pytest.mark.parametrize("state", ["down", "flapping"])
async def test_redis_dies(redis_app, redis_server, upstream, state):
    async with two_visitors(redis_app) as visitors:
        outage = getattr(redis_server, state)()
        await endure(outage, REDIS, *visitors, upstream)


async def test_sqlite_is_locked(
    start_server: StartServer, upstream: ThreadedEmulator
) -> None:
    server = start_server("uvicorn", environment(upstream, **PATIENCE))
    async with two_visitors(server) as (someone, other):
        staff = "UPDATE accounts_user SET is_staff = 1 WHERE id = ?"
        server.change(staff, someone.account.user_id)
        queue = [write_at_once(other), read(someone)]
        outage = locked(server.database)
        await endure(outage, LOCKED, someone, other, upstream, first=queue)


async def write_at_once(someone: Visitor) -> None:
    """Assert that many writers that wait for the lock all get a response in time."""
    cells = await asyncio.gather(*(timed(someone.rest_turn()) for _ in range(WRITERS)))
    assert {cell.outcome for cell in cells} == {AWAY}
    assert max(cell.seconds for cell in cells) < QUEUE_S + FIRST_S


async def read(someone: Visitor) -> None:
    """Assert that reads do not queue behind writers."""
    for _ in range(3):
        for cell in (await someone.measure(*READS)).values():
            assert cell.outcome == OK
            assert cell.seconds < WRITERS_S


async def test_the_disk_is_full(
    start_server: StartServer,
    upstream: ThreadedEmulator,
    seed: live.Seed,
    tmp_path: Path,
) -> None:
    """To SQLite, a full disk is a file that may not grow any more."""
    path = tmp_path / "full.sqlite3"
    path.write_bytes(seed.path.read_bytes())
    [[pages]] = live.rows_of(path, "PRAGMA page_count")
    limit = f"PRAGMA%20max_page_count={pages + 500}"
    url = f"sqlite:///{path}?init_command={limit}"
    server = start_server(
        "uvicorn", environment(upstream, DATABASE_URL=url, **PATIENCE)
    )
    server.database = path
    async with two_visitors(server) as (someone, other):
        someone.text = secrets.token_hex(100_000)
        await endure(full(path, 500 * PAGE), FULL, someone, other, upstream)
