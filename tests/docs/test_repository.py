"""What every clone must have, and what no clone may have."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from django.core.management import call_command

from tests.support.live import ROOT

LOCK_FILES = (
    "frontend/package-lock.json",
    "tests/js/package-lock.json",
    "benchmarks/peers/node/package-lock.json",
)
REQUIREMENTS = (
    *(f"requirements{name}" for name in ("", "-dev", "-local", "-uv")),
    "benchmarks/peers/litellm/requirements",
)


@pytest.mark.parametrize("name", LOCK_FILES)
def test_a_lock_file_names_no_registry(name: str) -> None:
    packages = json.loads((ROOT / name).read_text())["packages"].values()

    assert [package for package in packages if "resolved" in package] == []
    assert any("integrity" in package for package in packages)


def _pins(name: str) -> dict[str, str]:
    """Return each requirement of a resolved file, without extras, and its full line."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / name).read_text())
    requirements = text.replace("\\\n", " ").splitlines()
    return {re.sub(r"\[.*?\]", "", line.split(" --")[0]): line for line in requirements}


def _names(source: str) -> set[str]:
    """Return the packages that an input file names."""
    lines = (ROOT / source).read_text().splitlines()
    return {match[0] for line in lines if (match := re.match(r"[a-z][\w-]*", line))}


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_requirement_is_pinned_and_hashed(name: str) -> None:
    pins = _pins(f"{name}.txt")

    assert pins
    assert [
        line
        for line in pins.values()
        if not re.fullmatch(
            r"[\w.-]+(\[[\w, -]+\])?==[\w.]+( ; .+?)?( +--hash=sha256:[0-9a-f]{64})+",
            line,
        )
    ] == []


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_a_requirements_file_has_what_its_input_names(name: str) -> None:
    pinned = {pin.split("==")[0] for pin in _pins(f"{name}.txt")}

    assert _names(f"{name}.in")
    assert _names(f"{name}.in") - pinned == set()


def test_extras_are_kept() -> None:
    """Without them, some versions of pip look for another version and fail."""
    assert "\npsycopg[binary, pool]==" in (ROOT / "requirements.txt").read_text()
    assert "\ncoverage[toml]==" in (ROOT / "requirements-dev.txt").read_text()


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_python_gets_the_same_version(name: str) -> None:
    supported = [pin for pin in _pins(f"{name}.txt") if "== 'PyPy'" not in pin]
    packages = [pin.split("==")[0] for pin in supported]

    assert sorted(packages) == sorted(set(packages))


def test_tools_and_server_share_their_versions() -> None:
    def versions(name: str) -> set[str]:
        return {pin.partition(";")[0].strip() for pin in _pins(name)}

    assert versions("requirements.txt") - versions("requirements-dev.txt") == set()


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_a_requirements_file_names_no_registry(name: str) -> None:
    text = (ROOT / f"{name}.txt").read_text()

    assert re.findall(r"://|index-url|find-links|^-|@ |(?<!\w)/\w+", text, re.M) == []


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
