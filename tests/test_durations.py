"""The files that take longest, and their order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import durations
from tests.conftest import pytest_collection_modifyitems
from tests.support.live import ROOT


class Item:
    """A test, as far as its place depends on it."""

    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid


def test_each_file_exists() -> None:
    missing = [name for name in durations.read() if not (ROOT / name).is_file()]

    assert missing == []


def test_the_longest_files_run_first_and_none_is_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(durations, "read", lambda: {"b.py": 9, "c.py": 20})
    names = ["d.py::1", "b.py::2", "a.py::1", "c.py::1", "b.py::1", "d.py::2"]
    items = [Item(name) for name in names]

    pytest_collection_modifyitems(items)  # type: ignore[arg-type]

    assert [item.nodeid for item in items] == [
        *("c.py::1", "b.py::2", "b.py::1", "a.py::1", "d.py::1", "d.py::2")
    ]


def test_times_are_taken_over_from_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "durations.json"
    kept.write_text('{"tests/a.py": 50, "tests/b.py": 40}')
    monkeypatch.setattr(durations, "PATH", kept)
    report = tmp_path / "times.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="tests.b" time="2.5"/>'
        '<testcase classname="tests.b" time="0.4"/>'
        '<testcase classname="tests.c.d" time="60"/></testsuite></testsuites>'
    )

    durations.main([str(report)])

    assert list(json.loads(kept.read_text()).items()) == [
        *(("tests/c/d.py", 60), ("tests/a.py", 50))
    ]
