"""A real PostgreSQL for the tests: `python -m tests.postgres [ARGUMENTS] [PATHS]`.

Starts the server that ships with `pgserver`, or with its fork `pgembed` on Python 3.13,
on a socket in a directory of its own. Runs the tests of what is stored on it, which the
rest of the suite runs on SQLite. Nothing of the server is left behind. With paths, only
the tests below these paths run. The arguments are pytest's.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import psycopg

from tests.support import live

ROOT = live.ROOT
# A machine may stall, and the package allows a start only ten seconds.
START_S = 60.0
# The settings of PostgreSQL that make it survive a power cut; on by default.
DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
PACKAGE = "pgserver" if sys.version_info < (3, 13) else "pgembed"
# The folders of the tests that use the database in their own process.
FOLDERS = (
    "access",
    "accounts",
    "admin",
    "answers",
    "api",
    "books",
    "models",
    "reports",
)
# What forms refuse, what roles see and what providers respond is the same on any
# database. `test_many_messages` asks for the pages, with all of their SQL.
LEFT_OUT = frozenset(
    f"tests/admin/test_{name}.py"
    for name in (
        "dashboard_rights",
        "keys",
        "model_prefixes",
        "permissions",
        "presets",
        "provider_rules",
        "provider_status",
        "roles",
        "save_and_test",
        "site",
        "view_only",
        "words",
    )
)


@contextmanager
def running_postgres(
    kept: Path | None = None, *, durable: bool = False
) -> Iterator[str]:
    """Run a server and yield its `DATABASE_URL`.

    Its database is empty at first and deleted afterwards, except in a directory `kept`.
    `durable` makes it survive a power cut, as an operator's does.
    """
    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR, it warns about where it puts its lock.
        warnings.simplefilter("ignore")
        package = importlib.import_module(PACKAGE)
    with tempfile.TemporaryDirectory(prefix="llmchat-postgres-") as directory:
        data = (kept or Path(directory)) / "data"
        with patient_start():
            running = package.get_server(data, cleanup_mode="stop")
        with running as server:
            url = server.get_uri()
            # Most tests have no use for that, and it costs time.
            _make_durable(url, "on" if durable else "off")
            yield url


def _make_durable(url: str, value: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for name in DURABLE:
            connection.execute(f"ALTER SYSTEM SET {name} = {value}")
        connection.execute("SELECT pg_reload_conf()")


def patient_start() -> Any:
    """Let the package's commands take longer than it allows."""

    def run(*args: Any, timeout: float | None = None, **options: Any) -> Any:
        limit_s = timeout and max(timeout, START_S)
        return subprocess.run(*args, timeout=limit_s, **options)

    patient = SimpleNamespace(**vars(subprocess) | {"run": run})
    # Both packages look `subprocess` up in this module; its callers differ.
    commands = importlib.import_module(f"{PACKAGE}._commands")
    return mock.patch.object(commands, "subprocess", patient)


def seed_postgres(url: str, *, users: int) -> tuple[live.Account, ...]:
    """Migrate the database and create users in it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.seed", str(users)],
        env={**live.seed_environment(ROOT), "DATABASE_URL": url},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    return tuple(live.Account(**account) for account in json.loads(done.stdout))


def database_tests() -> list[str]:
    """Return the files of tests that use the database in their own process."""
    files = sorted(
        path.relative_to(ROOT)
        for folder in FOLDERS
        for path in (ROOT / "tests" / folder).rglob("test_*.py")
    )
    names = [str(path) for path in files if not path.stem.endswith("_live")]
    return [name for name in names if name not in LEFT_OUT]


def chosen_tests(paths: list[str]) -> list[str]:
    """Return the tests of what is stored that are below the paths."""
    files = database_tests()
    chosen: list[str] = []
    for path in paths:
        name, separator, test = path.partition("::")
        place = (ROOT / name).resolve()
        chosen += [
            f"{file}{separator}{test}"
            for file in files
            if (ROOT / file).is_relative_to(place)
        ]
    return list(dict.fromkeys(chosen))


def is_path(argument: str) -> bool:
    """Return whether an argument names a file, a folder or a test, not an option."""
    name = argument.partition("::")[0]
    return "/" in name and (ROOT / name).exists()


def main(arguments: list[str]) -> int:
    """Run the tests on PostgreSQL and return pytest's status."""
    paths = [argument for argument in arguments if is_path(argument)]
    options = [argument for argument in arguments if argument not in paths]
    tests = chosen_tests(paths) if paths else database_tests()
    if not tests:
        print("No test of these depends on the database: nothing to run on PostgreSQL")
        return 0
    with running_postgres() as url:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=ROOT,
            env={**os.environ, "LLMCHAT_TEST_DATABASE_URL": url},
        )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
