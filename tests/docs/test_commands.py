"""The commands that run tests run those that they are asked for."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests import postgres
from tests.support.live import ROOT

BUDGETS = "tests/access/test_budgets.py"


@pytest.mark.parametrize(
    ("paths", "chosen"),
    [
        ([BUDGETS], [BUDGETS]),
        ([f"{BUDGETS}::test_x", BUDGETS], [f"{BUDGETS}::test_x", BUDGETS]),
        ([BUDGETS, "tests/access/test_budgets.py"], [BUDGETS]),
        (["tests/realtime", "tests/api/test_rest_live.py"], []),
    ],
)
def test_postgresql_takes_the_chosen_tests_of_what_is_stored(
    paths: list[str], chosen: list[str]
) -> None:
    assert postgres.chosen_tests(paths) == chosen


def test_a_folder_stands_for_its_tests_of_what_is_stored() -> None:
    assert postgres.chosen_tests(["tests"]) == postgres.database_tests()
    chosen = postgres.chosen_tests(["tests/access/"])
    assert BUDGETS in chosen
    assert all(file.startswith("tests/access/") for file in chosen)


def test_only_what_exists_is_a_path() -> None:
    arguments = ["-q", "-k", "a/b", "-n", "2", "tests/access", f"{BUDGETS}::test_x"]
    assert list(filter(postgres.is_path, arguments)) == arguments[-2:]


@pytest.mark.parametrize(
    ("command", "measured", "part"),
    [
        (["test"], False, ""),
        (["test", "T=tests/access tests/api"], False, "tests/access tests/api"),
        (["coverage"], True, ""),
    ],
)
def test_make_runs_the_whole_or_a_part_and_measures_where_it_is_asked_to(
    command: list[str], measured: bool, part: str
) -> None:
    dry = ["make", "--dry-run", "--silent", *command]
    done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ("coverage report" in done.stdout) is measured
    assert done.stdout.count(part or "-m tests.postgres") >= 1


def test_make_stress_asks_for_what_the_tests_read() -> None:
    dry = ["make", "--dry-run", "--silent", "stress"]
    done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True)
    command = done.stdout.splitlines()[-2:]
    files = re.findall(r"tests/product/\w+\.py", " ".join(command))
    names = re.findall(r"(LLMCHAT_TEST_\w+)=\d+", " ".join(command))

    assert (len(files), len(names)) == (8, 3)
    read = [ROOT / name for name in (*files, "tests/support/outages.py")]
    text = "".join(path.read_text() for path in read)
    assert [name for name in names if f'environ.get("{name}"' not in text] == []


def test_make_jitter_breaks_everything_by_turns() -> None:
    dry = ["make", "--dry-run", "--silent", "jitter", "JITTER=--clients 2"]
    done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True)
    runs = [line for line in done.stdout.splitlines() if "tests.jitter" in line]
    options = [set(re.findall(r"--[a-z-]+", run)) for run in runs]

    faults = ("--reset-every", "--kill-every", "--restart-every", "--redis-down-every")
    assert [fault in found for fault, found in zip(faults, options, strict=True)] == (
        [True] * 4
    )
    known = (ROOT / "tests/jitter.py").read_text()
    assert [name for name in set().union(*options) if f'"{name}"' not in known] == []
    assert all("--clients 2" in run for run in runs)
