"""Redis and databases that hang, die and come back, under clients that go on.

The bounds are those of docs/operations.md with room for a busy machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from accounts.remembered import KEPT_S
from llmchat.database import QUEUE_S
from tests.conftest import StartServer
from tests.postgres import seed_postgres
from tests.support import live
from tests.support.outages import (
    OK,
    Cell,
    Visitor,
    locked,
    suspended,
    timed,
    visitor,
)
from tests.support.provider_lab import ThreadedEmulator, emulated, environment
from tests.support.redis_server import RedisServer

AWAY = "database_unavailable"
# Whoever asks before the outage is known waits so long at most, and then so long.
FIRST_S = 6.0
THEN_S = 1.5
WELL_S = 8.0
# A password takes its time.
HASHING_S = {"log in": 3.0, "admin": 3.0}
ALL = ("new socket", "turn", "rest", "rest turn", "log in")
READS = ("new socket", "rest")
WRITES = ("turn", "rest turn", "log in")


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedEmulator]:
    with emulated() as emulator:
        yield emulator


def assert_all(cells: dict[str, Cell], outcome: str, limit_s: float) -> None:
    print(cells)
    wrong = {
        name: cell
        for name, cell in cells.items()
        if cell.outcome != outcome or cell.seconds > limit_s + HASHING_S.get(name, 0)
    }
    assert not wrong, cells


async def assert_running(someone: Visitor, session_id: str = "running") -> None:
    """The answer goes on while its text cannot be stored."""
    started = time.monotonic()
    while time.monotonic() - started < 0.3:
        await someone.client.event("llm:stream:token", session_id)


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
            LLMCHAT_MESSAGES_PER_MINUTE="1000",
            LLMCHAT_LOGIN_ATTEMPTS_PER_MINUTE="5",
        ),
    )


@pytest.fixture(scope="module")
def sqlite_app(
    start_server: StartServer, upstream: ThreadedEmulator
) -> live.LiveServer:
    return start_server("uvicorn", environment(upstream))


async def guessed(someone: Visitor) -> list[str]:
    """Guess passwords until two guesses are refused; a new minute may come between."""
    outcomes: list[str] = []
    while outcomes[-2:] != ["rate_limited"] * 2 and len(outcomes) < 13:
        outcomes.append(await someone.log_in("wrong"))
    return outcomes


def told(server: live.LiveServer) -> list[str]:
    """Return what the log says of Redis."""
    return [line for line in server.log_text().splitlines() if "Redis" in line]


async def test_redis_hangs(redis_app, redis_server):
    async with (
        visitor(redis_app, redis_app.account()) as someone,
        visitor(redis_app, redis_app.account()) as other,
    ):
        with redis_server.stopped():
            first = await someone.measure(*ALL, "admin")
            assert_all(first, OK, THEN_S)
            assert_all(await someone.measure(*ALL, "admin"), OK, THEN_S)
            assert_all(await someone.measure("cancel"), OK, THEN_S)
            await assert_running(other)
            # The limit on guesses holds.
            assert (await guessed(other))[-2:] == ["rate_limited"] * 2
        assert await other.cancel() == OK
    assert len(told(redis_app)) <= 2
    assert "each process uses its own memory" in told(redis_app)[0]
    assert "Traceback" not in redis_app.log_text()


async def test_a_cancel_does_not_wait_for_redis(redis_app, redis_server):
    """The first of all calls that notices."""
    async with visitor(redis_app, redis_app.account()) as someone:
        with redis_server.stopped():
            assert_all(await someone.measure("cancel"), OK, 1.0)


async def test_redis_dies_and_comes_back_again_and_again(redis_app, redis_server):
    async with visitor(redis_app, redis_app.account()) as someone:
        for _ in range(3):
            redis_server.kill()
            assert_all(await someone.measure("new socket", "turn", "rest"), OK, THEN_S)
            redis_server.start()
            assert_all(await someone.measure("new socket", "turn", "rest"), OK, THEN_S)
            await asyncio.sleep(0.3)
        redis_server.kill()
        assert_all(await someone.measure("cancel"), OK, THEN_S)
        assert_all(await someone.measure(*ALL, "admin"), OK, THEN_S)
    assert "Traceback" not in redis_app.log_text()


async def test_postgresql_hangs(
    postgres: str, start_server: StartServer, upstream: ThreadedEmulator
) -> None:
    account, another = seed_postgres(postgres, users=2)
    server = start_server("uvicorn", environment(upstream, DATABASE_URL=postgres))
    data = Path(postgres.partition("host=")[2])
    postmaster = int((data / "postmaster.pid").read_text().split()[0])
    async with visitor(server, account) as someone, visitor(server, another) as other:
        with suspended(postmaster):
            began = time.monotonic()
            await asyncio.sleep(KEPT_S)  # the user is remembered for so long
            assert_all(await someone.measure(*ALL, "admin"), AWAY, FIRST_S)
            then = await someone.measure(*ALL, "admin")
            assert_all(then, AWAY, THEN_S)
            await assert_running(other)
            # The provider is told at once; the end is told within its own limit.
            cancel = await timed(someone.cancel())
            print(cancel)
            assert cancel.seconds < FIRST_S
            await asyncio.sleep(max(0.0, 5 - (time.monotonic() - began)))
        assert await someone.until_well(WELL_S) < WELL_S
        assert_all(await someone.measure(*ALL), OK, 2 * THEN_S)
        assert await other.cancel() == OK
        cancelled = await other.client.event("llm:stream:cancelled", "running")
    with psycopg.connect(postgres) as connection:
        query = "SELECT state, content FROM llmchat_message WHERE id = %s"
        row = connection.execute(query, [cancelled["messageId"]]).fetchone()
    assert row == ("cancelled", cancelled["partialResponse"])
    log = server.log_text()
    assert log.count("the database does not answer, queries fail at once") == 1
    assert "Traceback" not in log
    assert "Service Unavailable" not in log  # the outage is told once


async def test_sqlite_is_locked(sqlite_app: live.LiveServer) -> None:
    server = sqlite_app
    account = server.account()
    staff = "UPDATE accounts_user SET is_staff = 1 WHERE id = ?"
    server.change(staff, account.user_id)
    async with (
        visitor(server, account) as someone,
        visitor(server, server.account()) as other,
    ):
        with locked(server.database):
            writes = asyncio.create_task(someone.measure(*WRITES, "admin"))
            # Reads do not queue behind the writers.
            for _ in range(3):
                assert_all(await someone.measure(*READS), OK, THEN_S)
            assert_all(await writes, AWAY, FIRST_S)
            assert_all(await someone.measure(*WRITES), AWAY, THEN_S)
            assert_all(await someone.measure(*READS), OK, THEN_S)
            await assert_running(other)
        assert await someone.until_well(WELL_S) < WELL_S
        assert_all(await someone.measure(*ALL), OK, 2 * THEN_S)
        assert await other.cancel() == OK
        cancelled = await other.client.event("llm:stream:cancelled", "running")
    query = "SELECT state, content FROM llmchat_message WHERE id = ?"
    ident = cancelled["messageId"].replace("-", "")
    assert server.rows(query, ident) == [("cancelled", cancelled["partialResponse"])]
    assert "Traceback" not in server.log_text()
    assert "Service Unavailable" not in server.log_text()


async def test_many_writers_that_wait_for_sqlite_all_hear_in_time(
    sqlite_app: live.LiveServer,
) -> None:
    async with visitor(sqlite_app, sqlite_app.account()) as someone:
        with locked(sqlite_app.database):
            cells = await asyncio.gather(
                *(timed(someone.rest_turn()) for _ in range(20))
            )
    assert {cell.outcome for cell in cells} == {AWAY}
    assert max(cell.seconds for cell in cells) < QUEUE_S + FIRST_S


async def test_the_disk_is_full(
    start_server: StartServer,
    upstream: ThreadedEmulator,
    seed: live.Seed,
    tmp_path: Path,
) -> None:
    """As SQLite says it: its file may not grow any more."""
    path = tmp_path / "full.sqlite3"
    path.write_bytes(seed.path.read_bytes())
    [[pages]] = live.rows_of(path, "PRAGMA page_count")
    full = f"sqlite:///{path}?init_command=PRAGMA%20max_page_count={pages + 8}"
    server = start_server("uvicorn", environment(upstream, DATABASE_URL=full))
    account = server.account()
    async with visitor(server, account) as someone:
        large = "x" * 200_000
        cell = await timed(someone.start("large", large))
        assert_all({"turn": cell}, AWAY, 2 * THEN_S)
        assert_all(await someone.measure(*READS), OK, THEN_S)
        login = await timed(someone.log_in())
        assert login.outcome in (OK, AWAY)
        assert login.seconds < 2 * THEN_S
        await assert_running(someone)
        cell = await timed(someone.cancel())
        assert cell.seconds < FIRST_S
    assert "Traceback" not in server.log_text()
