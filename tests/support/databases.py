"""The two databases that the product runs on, for live tests of what is stored."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connection as django_connection

from tests.postgres import running_postgres, seed_postgres
from tests.support import live
from tests.support.stress import STRESSED

__all__ = ["cluster", "database", "migrated", "other_connection", "postgres"]
_NUMBERS = count()


@dataclass(frozen=True, slots=True)
class Cluster:
    """A PostgreSQL with a database, with users in it, that is copied for each use."""

    url: str
    accounts: tuple[live.Account, ...]

    @contextmanager
    def copy(self) -> Iterator[str]:
        """Copy the database with users; yield the copy's address."""
        name = f"copy{next(_NUMBERS)}"
        _execute(self.url, f"CREATE DATABASE {name} TEMPLATE seed")
        try:
            yield _at(self.url, name)
        finally:
            _execute(self.url, f"DROP DATABASE {name} WITH (FORCE)")


def _at(url: str, database: str) -> str:
    """Return the address of another database of the same server."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()


def _execute(url: str, statement: str) -> None:
    """Execute a statement outside of any transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL with an empty database.

    All modules share it. Those that fill a database ask for `migrated`, and those that
    suspend or kill PostgreSQL start one of their own. Under `make stress` it is as
    durable as an operator's, because that is what commits cost there.
    """
    with running_postgres(durable=STRESSED) as url:
        yield url


@pytest.fixture(scope="session")
def cluster(postgres: str) -> Cluster:
    """A PostgreSQL that can copy a migrated database with users in it."""
    _execute(postgres, "CREATE DATABASE seed")
    accounts = seed_postgres(_at(postgres, "seed"), users=live.USERS)
    return Cluster(postgres, accounts)


@pytest.fixture(scope="module")
def migrated(cluster: Cluster) -> Iterator[str]:
    """The address of the module's own database, with the users of the cluster."""
    with cluster.copy() as url:
        yield url


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest,
    start_server: Callable[..., live.LiveServer],
    tmp_path_factory: pytest.TempPathFactory,
) -> Database:
    """Each of the two databases, with users in it."""
    if request.param == "postgresql":
        cluster: Cluster = request.getfixturevalue("cluster")
        url = request.getfixturevalue("migrated")
        accounts = iter(cluster.accounts)
        return Database(url, accounts, _postgres_rows(url), start_server)
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
