"""The test database: a new one, migrated by one worker and copied by the others.

All migrations take as long as many tests, and every worker would run them.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

__all__ = ["django_db_modify_db_settings"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    worker_id: str,
) -> Iterator[None]:
    """Let the first worker that needs a database share it; called by pytest-django."""
    if connection.vendor == "sqlite":
        # In a new directory: SQLite would take the log of an earlier run, left beside a
        # file of the same name, for this one's. On disk, as in production: several
        # threads use it, and SQLite's shared in-memory databases have locks of their
        # own, to which no timeout applies.
        file = tmp_path_factory.mktemp("database") / "test.db"
        connection.settings_dict["TEST"]["NAME"] = str(file)
    if worker_id == "master":
        yield
        return
    directory = tmp_path_factory.getbasetemp().parent  # the workers have it in common
    kind = Template if connection.vendor == "postgresql" else File
    shared = kind(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection.creation, "create_test_db", _creating(shared))
        yield
    with django_db_blocker.unblock():
        shared.delete()


def _creating(shared: File | Template) -> Callable[..., str]:
    """Return Django's function that makes the test database, but from a copy."""
    create: Callable[..., str] = connection.creation.create_test_db

    def create_test_db(*args: Any, **options: Any) -> str:
        with shared.locked():
            if shared.exists():
                with pytest.MonkeyPatch.context() as patch:
                    shared.use(patch)
                    return create(*args, **options)
            name = create(*args, **options)
            shared.make(name)
            return name

    return create_test_db


class File:
    """What the workers share if the database is SQLite: a copy of the file."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "migrated"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let the other workers wait."""
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def exists(self) -> bool:
        """Return whether a worker has made it."""
        return self._path.exists()

    def make(self, name: str) -> None:
        """Copy this worker's test database, which is migrated."""
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(unfinished)])
        unfinished.rename(self._path)

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Make Django begin with a copy."""
        creation: Any = connection.creation
        prepare = creation._create_test_db

        def copy(*args: Any, **options: Any) -> str:
            name: str = prepare(*args, **options)
            shutil.copy(self._path, name)
            return name

        patch.setattr(creation, "_create_test_db", copy)

    def delete(self) -> None:
        """Leave it to pytest, which deletes its directories."""


class Template(File):
    """What they share if it is PostgreSQL: a database, whose name is in a file."""

    _made = ""

    def make(self, name: str) -> None:
        """Copy this worker's test database, to which nothing may be connected."""
        used: Any = connection
        used.close()
        used.close_pool()
        self._made = f"{name}_template"
        # One may be left of a run that was killed.
        self._execute(f'DROP DATABASE IF EXISTS "{self._made}"')
        self._execute(f'CREATE DATABASE "{self._made}" TEMPLATE "{name}"')
        self._path.write_text(self._made)

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Make Django begin with a copy."""
        test: dict[str, Any] = connection.settings_dict["TEST"]
        patch.setitem(test, "TEMPLATE", self._path.read_text())

    def delete(self) -> None:
        """Delete it if this worker has made it; who comes later makes another."""
        if self._made:
            with self.locked():
                self._path.unlink()
                self._execute(f'DROP DATABASE "{self._made}"')

    def _execute(self, statement: str) -> None:
        with connection._nodb_cursor() as cursor:
            cursor.execute(statement)
