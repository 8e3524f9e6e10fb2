"""The two databases that the product runs on, for live tests of what is stored."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection as django_connection

from tests.postgres import running_postgres, seed_postgres
from tests.support import live

USERS = 10
__all__ = ["database", "other_connection", "postgres"]


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database that several servers may share, with users in it."""

    url: str
    accounts: Iterator[live.Account]
    rows: Callable[[str], list[tuple[Any, ...]]]
    starter: Callable[..., live.LiveServer]

    def start_server(self, env: Mapping[str, str]) -> live.LiveServer:
        """Start a server on this database."""
        return self.starter("uvicorn", {**env, "DATABASE_URL": self.url})


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL with an empty database."""
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest,
    start_server: Callable[..., live.LiveServer],
    tmp_path_factory: pytest.TempPathFactory,
) -> Database:
    """Each of the two databases, with users in it."""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres")
        accounts = seed_postgres(url, users=USERS)
        return Database(url, iter(accounts), _postgres_rows(url), start_server)
    seed: live.Seed = request.getfixturevalue("seed")
    path = tmp_path_factory.mktemp("shared") / "db.sqlite3"
    shutil.copy(seed.path, path)
    url = f"sqlite:///{path}"
    return Database(url, iter(seed.accounts), _sqlite_rows(path), start_server)


@pytest.fixture
def other_connection(transactional_db: None) -> Iterator[Any]:
    """A second connection to this database, as of another process, in a transaction."""
    other = django_connection.copy()
    other.set_autocommit(False)
    yield other
    other.close()


def is_waited_for(cursor: Any, table: str) -> bool:
    """Return whether anything waits for a lock on a table or on one of its rows."""
    cursor.execute(
        "SELECT count(*) FROM pg_locks WHERE relation = %s::regclass"
        # A transaction that waits for a row holds its place in the queue: a tuple lock.
        " AND (locktype = 'tuple' OR NOT granted)",
        [table],
    )
    return bool(cursor.fetchone()[0])


def _postgres_rows(url: str) -> Callable[[str], list[tuple[Any, ...]]]:
    def rows(query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            return connection.execute(query.encode()).fetchall()

    return rows


def _sqlite_rows(path: Path) -> Callable[[str], list[tuple[Any, ...]]]:
    def rows(query: str) -> list[tuple[Any, ...]]:
        return live.rows_of(path, query)

    return rows
