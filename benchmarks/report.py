"""Print the figures of the comparison, store them in JSON, and update the docs."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator

from benchmarks.cluster import HERE
from benchmarks.loads import WINDOW_S, Figures, Seen, faults
from tests.support.live import ROOT

PAGE = ROOT / "docs" / "performance.md"
RESULTS = HERE / "results.json"
OURS = "llmchat"
MARKS = "<!-- figures: make bench -->\n", "<!-- /figures -->\n"

# The figures of every round, by load and subject.
Results = dict[str, dict[str, list[Figures]]]
# The loads in which our server has lost or duplicated something.
_faulty: list[str] = []


def medians(rounds: list[Figures]) -> Figures:
    """Return the median of each figure."""
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def check(load: str, where: str, seen: Seen, *, server: str = OURS) -> None:
    """Print what was wrong with the streams of a load; our faults fail the run."""
    if wrong := faults(seen):
        print(f"{load}, {where}: {wrong}", flush=True)
        if server == OURS:
            _faulty.append(load)


def fail_if_faulty() -> None:
    """End the program with status 1 if our server has had a faulty stream."""
    if _faulty:
        sys.exit(f"faulty streams: {', '.join(_faulty)}")


def print_load(name: str, by_subject: dict[str, list[Figures]]) -> None:
    """Print the figures of a load; called as soon as they are measured."""
    print(name)
    for subject, rounds in by_subject.items():
        figures = medians(rounds).items()
        cells = (f"{figure} {_number(value)}" for figure, value in figures)
        print(f"    {subject:<16} {', '.join(cells)}", flush=True)


def print_ratios(by_subject: dict[str, list[Figures]]) -> None:
    """Print the figures of the second of two subjects divided by those of the first."""
    (first, second), (was, now) = by_subject, map(medians, by_subject.values())
    ratios = (f"{figure} {now[figure] / was[figure]:.2f}" for figure in was)
    print(f"    {second} ÷ {first}: {', '.join(ratios)}", flush=True)


def write(results: Results, *, is_whole: bool) -> None:
    """Store the figures; those of a complete, good run become the table in the docs."""
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    table = "\n".join(_table(results)) + "\n"
    print(f"\n{table}")
    if is_whole and not _faulty:
        begin, end = MARKS
        page = PAGE.read_text()
        before, after = page.split(begin)[0], page.split(end)[1]
        most = max(len(rounds) for row in results.values() for rounds in row.values())
        note = f"Medians of {most} rounds, with windows of {WINDOW_S:g} s and less.\n"
        PAGE.write_text(f"{before}{begin}\n{note}\n{table}\n{end}{after}")


def _table(results: Results) -> Iterator[str]:
    """Yield the rows in Markdown: the ratios to the peers, then the figures."""
    subjects = list(dict.fromkeys(name for row in results.values() for name in row))
    peers = [name for name in subjects if name != OURS]
    heads = ["load", "figure", *(f"÷ {peer}" for peer in peers), *subjects]
    yield _row(heads)
    yield _row(["---", "---"] + ["---:"] * (len(heads) - 2))
    for load, by_subject in results.items():
        median = {name: medians(rounds) for name, rounds in by_subject.items()}
        for figure, ours in median[OURS].items():
            others = [median.get(peer, {}).get(figure) for peer in peers]
            ratios = [_ratio(ours, other) for other in others]
            values = [_number(value) for value in (ours, *others)]
            yield _row([load, figure, *ratios, *values])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ratio(ours: float, other: float | None) -> str:
    return f"{ours / other:.2f}" if other else ""


def _number(value: float | None) -> str:
    """Return a figure with three significant digits."""
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"
