"""The product as a child process, for the tests that need a server to talk to."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any

from tests.support import warm

ROOT = Path(__file__).resolve().parents[2]
USERS = 60  # of a seed
START_LIMIT_S = 60.0
SOON_LIMIT_S = 20.0
# Below the ports that the system picks for outgoing connections and for port 0.
PORTS = range(10_000, 32_000)
STOP_LIMIT_S = 10.0
MODEL_LOG = "model.log"
COVERAGE_VARIABLE = "COVERAGE_PROCESS_CONFIG"
KEPT_VARIABLES = (
    COVERAGE_VARIABLE,
    "HOME",
    "LANG",
    "LD_LIBRARY_PATH",
    "PATH",
    "TMPDIR",
    "VIRTUAL_ENV",
)


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the seeded database and the tokens of its log-in."""

    user_id: int
    username: str
    password: str
    access: str
    refresh: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers of an authorized REST request."""
        return {"Authorization": f"Bearer {self.access}"}


@dataclass(frozen=True, slots=True)
class Seed:
    """A migrated database with users in it, to be copied for each server."""

    path: Path
    accounts: tuple[Account, ...]


class LiveServer:
    """A running server: its address, its accounts and its log."""

    def __init__(
        self,
        process: subprocess.Popen[bytes] | warm.Process,
        *,
        kind: str,
        port: int,
        database: Path,
        log: Path,
        accounts: Iterable[Account],
    ) -> None:
        self.process = process
        self.kind = kind
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.database = database
        self.log = log
        self.model_log = log.with_name(MODEL_LOG)
        self._accounts = iter(accounts)

    @property
    def pids(self) -> list[int]:
        """Return the ids of the processes that serve."""
        return [self.process.pid]

    def needs_one_process(self, why: str) -> None:
        """Skip the test if several machines replace the server; they override this."""

    def account(self) -> Account:
        """Return a user that no test of this server has had before."""
        return next(self._accounts)

    def superuser(self) -> Account:
        """Return a user that no test has had before, with all rights in the admin."""
        account = self.account()
        self.change(
            "UPDATE accounts_user SET is_staff = 1, is_superuser = 1 WHERE id = ?",
            account.user_id,
        )
        return account

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read the server's database behind its back."""
        return rows_of(self.database, query, *values)

    def change(self, statement: str, *values: Any) -> None:
        """Change the server's database behind its back."""
        with closing(sqlite3.connect(self.database, timeout=20)) as connection:
            connection.execute(statement, values)
            connection.commit()

    def limit_answers(self, provider: str, tokens: int) -> None:
        """Let a provider's answers have no more tokens than this, from now on.

        A client that sets no limit may get a long answer from a small model, which does
        not always find an end.
        """
        self.change(
            "UPDATE llmchat_provider SET max_output_tokens = ? WHERE name = ?",
            tokens,
            provider,
        )
        self.change("DELETE FROM llmchat_revision")

    async def rows_soon(
        self, query: str, *values: Any, count: int
    ) -> list[tuple[Any, ...]]:
        """Read until there are `count` rows: an end is stored after it is sent."""
        async with asyncio.timeout(SOON_LIMIT_S):
            while True:
                rows = self.rows(query, *values)
                if len(rows) >= count:
                    return rows
                await asyncio.sleep(0.02)

    def model_cancels(self) -> int:
        """Count the answers that llama.cpp has logged as cancelled."""
        return self.model_log.read_text(errors="replace").count("cancel task")

    async def model_cancels_soon(self, count: int) -> None:
        """Wait until llama.cpp has logged `count` cancels; its log lags behind it.

        Raises: TimeoutError.
        """
        async with asyncio.timeout(SOON_LIMIT_S):
            while True:
                if self.model_cancels() >= count:
                    return
                await asyncio.sleep(0.02)

    def log_text(self) -> str:
        """Return all that the server has written so far."""
        return self.log.read_text(errors="replace")

    def stop(self) -> int:
        """Stop the process, by force if necessary, and return its status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


def rows_of(database: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Read a database file that a server may be writing."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


def seed_database(directory: Path, *, users: int) -> Seed:
    """Make a migrated database file with users in it, or use the existing one.

    Several processes may ask for it at the same time: the first one makes it.
    """
    directory.mkdir(exist_ok=True)
    path, told = directory / "seed.sqlite3", directory / "accounts.json"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            done = subprocess.run(
                [sys.executable, "-m", "tests.support.seed", str(users)],
                env=seed_environment(path),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                check=True,
            )
            told.write_bytes(done.stdout)
    accounts = json.loads(told.read_bytes())
    return Seed(path, tuple(Account(**account) for account in accounts))


def seed_environment(database: Path) -> dict[str, str]:
    """Return the environment in which accounts are made.

    Their tokens must outlive a slow run of all tests or benchmarks.
    """
    return {**environment(database), "ACCESS_TOKEN_MINUTES": "1440"}


def environment(database: Path) -> dict[str, str]:
    """Return a child's environment, which is independent of this machine's `.env`."""
    return {
        **{name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
        "PYTHONUNBUFFERED": "1",
        # With the project's own settings a log-in costs a third of a second, and many a
        # test begins with one. tests/product/test_rest.py logs in with the project's.
        "DJANGO_SETTINGS_MODULE": "tests.lighter_hashes",
        "LLMCHAT_ENV_FILE": "",
        "DJANGO_DEBUG": "1",
        "DJANGO_SECRET_KEY": "live-tests-0123456789-abcdefghijklmnopqrstuvwxyz",
        "LLMCHAT_ENCRYPTION_KEYS": "bGl2ZS10ZXN0cy1saXZlLXRlc3RzLWxpdmUtdGVzdHM=",
        "LLMCHAT_LOGIN_ATTEMPTS_PER_MINUTE": "0",
        "DATABASE_URL": f"sqlite:///{database}",
    }


def start_server(
    kind: str,
    seed: Seed,
    directory: Path,
    *,
    env: Mapping[str, str] | None = None,
    port: int | None = None,
) -> LiveServer:
    """Start daphne or uvicorn on a copy of the seed and wait until it answers."""
    directory.mkdir(parents=True, exist_ok=True)
    database = directory / "db.sqlite3"
    shutil.copy(seed.path, database)
    log = directory / "server.log"
    port = port or free_port()
    with log.open("wb") as output:
        process = start_module(
            _command(kind, port),
            {
                **environment(database),
                "PORT": str(port),
                "LLMCHAT_LOCAL_LOG": str(directory / MODEL_LOG),
                **(env or {}),
            },
            output,
        )
    server = LiveServer(
        process,
        kind=kind,
        port=port,
        database=database,
        log=log,
        accounts=seed.accounts,
    )
    try:
        _wait_until_up(server)
    except BaseException:
        server.stop()
        raise
    return server


def start_module(
    arguments: Sequence[str],
    env: Mapping[str, str],
    output: IO[bytes],
    *,
    errors: IO[bytes] | None = None,
    strict: bool = False,
) -> subprocess.Popen[bytes] | warm.Process:
    """Run a module of Python in a process, as `warm.start` does.

    Only tests without coverage fork it: coverage begins when an interpreter starts, and
    benchmarks start what they measure as users do.
    """
    in_tests = "PYTEST_VERSION" in os.environ
    if sys.platform == "linux" and in_tests and not os.environ.get(COVERAGE_VARIABLE):
        return warm.start(
            arguments, env=env, output=output, errors=errors, strict=strict
        )
    return subprocess.Popen(
        [sys.executable, *(("-W", "error") if strict else ()), "-m", *arguments],
        env=env,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors or subprocess.STDOUT,
    )


def _command(kind: str, port: int) -> list[str]:
    if kind == "uvicorn":
        return ["serving"]  # the production command, which reads PORT
    return ["daphne", "-b", "127.0.0.1", "-p", str(port), "config.asgi:application"]


def _wait_until_up(server: LiveServer) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RuntimeError(f"the server did not start:\n{server.log_text()}")
        if _answers(server.port):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the server does not answer:\n{server.log_text()}")


def _answers(port: int) -> bool:
    """Return whether the server answers a request.

    This runs twenty times a second: an httpx client would take half as much processor
    time as the start that is awaited.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=START_LIMIT_S)
    with closing(connection):
        try:
            connection.request("GET", "/healthz")
            connection.getresponse().read()
        except (OSError, HTTPException):
            return False
    return True


def free_port() -> int:
    """Return a port that is free now and is never returned again.

    Each worker of pytest-xdist has ports of its own, because some time passes before a
    server binds its port.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = PORTS[worker :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
    while True:
        port = secrets.choice(ports)  # `random` is seeded alike in all workers
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


_given: set[int] = set()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
