"""The product on several machines in place of one server, for `make balanced`.

Each machine is started as `make serve` does it, with debug off. They share only a
PostgreSQL and a Redis, and a load balancer sends each request to the next of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support import live
from tests.support.balancer import IN_PLACE, balanced
from tests.support.databases import Cluster
from tests.support.redis_server import RedisServer

__all__ = ["launch"]

Launch = Callable[..., live.LiveServer]


class Machines(live.LiveServer):
    """Several servers as one, at the balancer's port, with the logs of all of them."""

    def __init__(
        self,
        machines: list[live.LiveServer],
        database_url: str,
        *,
        port: int,
        seed: live.Seed,
        on_stop: ExitStack,
    ) -> None:
        first = machines[0]
        super().__init__(
            first.process,
            kind=first.kind,
            port=port,
            # A test that opens this file, instead of using the methods here, fails.
            database=Path("/dev/null/no.sqlite3"),
            log=first.log,
            accounts=seed.accounts,
        )
        self.machines = machines
        self._database_url = database_url
        self._on_stop = on_stop

    @property
    def pids(self) -> list[int]:
        """Return the ids of all machines' processes."""
        return [machine.process.pid for machine in self.machines]

    def needs_one_process(self, why: str) -> None:
        """Skip the test."""
        pytest.skip(why)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read the shared database, with ids as SQLite stores them."""
        with psycopg.connect(self._database_url) as connection:
            rows = connection.execute(_for_postgres(query), values).fetchall()
        return [tuple(map(_as_in_sqlite, row)) for row in rows]

    def change(self, statement: str, *values: Any) -> None:
        """Change the shared database."""
        with psycopg.connect(self._database_url) as connection:
            connection.execute(_for_postgres(statement), values)

    def model_cancels(self) -> int:
        """Count the answers that llama.cpp has logged as cancelled on any machine."""
        asked = [one for one in self.machines if one.model_log.exists()]
        return sum(one.model_cancels() for one in asked)

    def log_text(self) -> str:
        """Return all that the machines have written so far."""
        return "".join(machine.log_text() for machine in self.machines)

    def stop(self) -> int:
        """Stop the balancer and all machines; return the worst status."""
        self._on_stop.close()
        return max((one.stop() for one in self.machines), key=abs)


def _for_postgres(statement: str) -> bytes:
    return statement.replace("%", "%%").replace("?", "%s").encode()


def _as_in_sqlite(value: object) -> object:
    return value.hex if isinstance(value, UUID) else value


def start_machines(
    kind: str,
    seed: live.Seed,
    directory: Path,
    *,
    cluster: Cluster,
    env: Mapping[str, str] | None = None,
    port: int | None = None,
) -> Machines:
    """Start machines with a new database, a new Redis and a balancer before them."""
    with ExitStack() as stack:
        url = stack.enter_context(cluster.copy())
        redis = RedisServer()
        stack.callback(redis.kill)
        redis.start()
        shared = {"DJANGO_DEBUG": "0", "DATABASE_URL": url, "REDIS_URL": redis.url}
        machines: list[live.LiveServer] = []
        for number in range(IN_PLACE):
            place = directory / str(number)
            machine = live.start_server(
                kind, seed, place, env={**shared, **(env or {})}
            )
            stack.callback(machine.stop)
            machines.append(machine)
        port = stack.enter_context(balanced([one.port for one in machines], port))
        return Machines(
            machines,
            url,
            port=port,
            seed=seed,
            on_stop=stack.pop_all(),
        )


@pytest.fixture(scope="session")
def launch(request: pytest.FixtureRequest) -> Launch:
    """The function that starts a server, or machines with `LLMCHAT_TEST_WORKERS`."""
    if not IN_PLACE:
        return partial(live.start_server, seed=request.getfixturevalue("seed"))
    cluster: Cluster = request.getfixturevalue("cluster")
    # Machines do not begin with a copy of a database file.
    seed = live.Seed(Path(os.devnull), cluster.accounts)
    return partial(start_machines, seed=seed, cluster=cluster)
