"""What happens to the browser tests on a machine without a browser."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.browser import find_chromium
from tests.support.live import ROOT


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing installed, and a user who may not install anything."""
    tool = tmp_path / "id"
    tool.write_text("#!/bin/sh\necho 1000\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LLMCHAT_CHROMIUM", raising=False)
    monkeypatch.delenv("CI", raising=False)
    return tmp_path


@pytest.mark.usefixtures("bare")
def test_without_a_browser_its_tests_are_skipped_with_a_line_that_says_so() -> None:
    with pytest.raises(pytest.skip.Exception, match="no Chromium found"):
        find_chromium()
    done = subprocess.run(
        [ROOT / "scripts/install_chromium"], capture_output=True, text=True, check=True
    )
    assert "no Chromium found, so the browser tests are skipped" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("bare")
def test_without_a_browser_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no Chromium found"):
        find_chromium()


@pytest.mark.parametrize("name", ["chromium", "google-chrome-stable"])
def test_a_browser_is_found_and_nothing_is_said(bare: Path, name: str) -> None:
    browser = bare / name
    browser.write_text("#!/bin/sh\n")
    browser.chmod(0o755)

    done = subprocess.run(
        [ROOT / "scripts/install_chromium"], capture_output=True, text=True, check=True
    )

    assert find_chromium() == str(browser)
    assert done.stderr + done.stdout == ""
