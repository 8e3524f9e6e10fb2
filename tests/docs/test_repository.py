"""What every clone shall have, and what none shall."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from django.core.management import call_command

from tests.support.live import ROOT

LOCK_FILES = ("frontend/package-lock.json", "tests/js/package-lock.json")


@pytest.mark.parametrize("name", LOCK_FILES)
def test_a_lock_file_names_no_registry(name: str) -> None:
    packages = json.loads((ROOT / name).read_text())["packages"].values()

    assert [package for package in packages if "resolved" in package] == []
    assert any("integrity" in package for package in packages)


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", "requirements-local.txt"]
)
def test_every_requirement_is_pinned(name: str) -> None:
    lines = [
        line
        for line in (ROOT / name).read_text().splitlines()
        if line and not line.startswith(("#", "-r "))
    ]

    assert lines
    assert [
        line for line in lines if not re.fullmatch(r"[\w\[\],.-]+==[\w.]+", line)
    ] == []


def test_no_secret_and_no_database_is_committed() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert [n for n in tracked if n == ".env" or n.endswith((".sqlite3", ".db"))] == []


@pytest.mark.django_db
def test_the_migrations_are_those_of_the_models() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
