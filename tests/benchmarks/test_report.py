"""The figures are written as a table, and the docs show every load."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from benchmarks import leaks, loads, report

RESULTS: report.Results = {
    "short streams": {
        "llmchat": [{"CPU, µs": 30.0}, {"CPU, µs": 10.0}, {"CPU, µs": 20.0}],
        "node": [{"CPU, µs": 40.0}],
    },
    "leaks": {"llmchat": [{"threads": 0.0}]},
}
TABLE = """\
| load | figure | ÷ node | llmchat | node |
| --- | --- | ---: | ---: | ---: |
| short streams | CPU, µs | 0.50 | 20.0 | 40.0 |
| leaks | threads |  | 0.00 |  |
"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    page = tmp_path / "performance.md"
    page.write_text("Before\n" + "old\n".join(report.MARKS) + "After\n")
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "WINDOW_S", 8)
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results.json")
    return page


def test_medians_and_ratios_are_written_into_the_docs(page: Path) -> None:
    report.write(RESULTS, is_whole=True)

    begin, end = report.MARKS
    note = "Medians of 3 rounds, with windows of 8 s and less.\n"
    assert page.read_text() == f"Before\n{begin}\n{note}\n{TABLE}\n{end}After\n"
    assert json.loads(report.RESULTS.read_text()) == RESULTS


def test_a_part_leaves_the_docs_alone(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = page.read_text()
    report.write(RESULTS, is_whole=False)

    assert page.read_text() == before
    assert TABLE in capsys.readouterr().out


@pytest.mark.parametrize(("server", "fails"), [("llmchat", True), ("node", False)])
def test_a_lost_token_of_ours_fails_the_run_and_leaves_the_docs_alone(
    page: Path, monkeypatch: pytest.MonkeyPatch, server: str, fails: bool
) -> None:
    monkeypatch.setattr(report, "_faulty", [])
    before = page.read_text()
    seen = dict.fromkeys(loads.FAULTS, 0) | {"lost": 1}

    report.check("short streams", server, seen, server=server)
    report.write(RESULTS, is_whole=True)

    assert (page.read_text() == before) is fails
    with pytest.raises(SystemExit) if fails else nullcontext():
        report.fail_if_faulty()


def test_the_docs_show_every_load() -> None:
    shown = (report.ROOT / "docs" / "performance.md").read_text()

    assert [load.name for load in loads.LOADS if f"| {load.name} |" not in shown] == []
    assert f"| {leaks.NAME} |" in shown
