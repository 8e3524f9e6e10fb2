"""The two protocol machines are tested to the last branch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.live import ROOT

PACKAGES = ("engineio", "socketio")


@pytest.mark.timeout(300)
def test_every_branch_of_the_machines_is_tested(tmp_path: Path) -> None:
    # Full coverage must not depend on what random tests happen to find.
    tests = [
        str(path)
        for package in PACKAGES
        for path in sorted(ROOT.glob(f"tests/realtime/{package}/test_*.py"))
        if not path.stem.endswith(("_stateful", "_fuzz"))
    ]
    packages = [
        f"--cov={ROOT / 'llmchat' / 'realtime' / package}" for package in PACKAGES
    ]
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "COV"))
    }
    environment["COVERAGE_FILE"] = str(tmp_path / "coverage")

    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            # The machines know nothing about Django, and their tests do not need it.
            *(
                "--noconftest",
                "-p",
                "no:django",
                "-W",
                "ignore::pytest.PytestConfigWarning",
            ),
            *("-m", "not hypothesis", "--cov-branch", "--cov-fail-under=100"),
            *("--cov-report=term-missing:skip-covered", *packages, *tests),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )

    assert run.returncode == 0, run.stdout + run.stderr
