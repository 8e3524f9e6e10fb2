"""What turns and tokens cost, beside the peers: one core for the server, in one run.

The whole product (accounts, limits, books) beside servers that do the same with less:
Node's socket.io with undici, with and without a database, and python-socketio. Each
load meets them one after another, several rounds, and the medians are compared.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import cluster
from tests.support import live

USERS = 300
QUICK = os.environ.get("QUICK") == "1"
ROUNDS = 2 if QUICK else 3
SECONDS = "4" if QUICK else "8"

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Load:
    """A load: what the clients do, and which figures are made of what they saw."""

    name: str
    count: int
    arguments: tuple[str, ...]
    figures: Callable[[dict[str, Any]], Figures]


def _short(seen: dict[str, Any]) -> Figures:
    return {
        "CPU, us a stream": seen["cpu_s"] / max(1, seen["window_done"]) * 1e6,
        "streams a second": seen["window_done"] / seen["seconds"],
    }


def _arrivals(seen: dict[str, Any]) -> Figures:
    return {
        "CPU, us a token": seen["cpu_s"] / max(1, seen["window_tokens"]) * 1e6,
        "first token p50, ms": seen["first_ms"][0],
        "first token p99, ms": seen["first_ms"][2],
    }


def _tokens(seen: dict[str, Any]) -> Figures:
    return {
        "CPU, us a token": seen["cpu_s"] / max(1, seen["window_tokens"]) * 1e6,
        "delay p50, ms": seen["delay_ms"][0],
        "delay p99, ms": seen["delay_ms"][2],
    }


def _flat_out(seen: dict[str, Any]) -> Figures:
    return {"tokens a second": seen["window_tokens"] / seen["seconds"]}


def _first(seen: dict[str, Any]) -> Figures:
    return {"first token p50, ms": seen["first_ms"][0]}


def _connects(seen: dict[str, Any]) -> Figures:
    return {"connects a second": seen["window_joined"] / seen["seconds"]}


LOADS = (
    Load("short streams", 32, ("closed", "0", "t10r0", SECONDS, "1"), _short),
    Load("50 new a second", 150, ("open", "50", "t60r30", SECONDS, "2"), _arrivals),
    Load("one at a time", 1, ("closed", "0", "t10r0", "2", "0.5"), _first),
    Load("100 x 30 a second", 100, ("once", "2000", "t900r30", SECONDS, "4"), _tokens),
    Load("300 x 30 a second", 300, ("once", "4000", "t900r30", SECONDS, "6"), _tokens),
    Load("flat out", 50, ("closed", "0", "t2000r0", SECONDS, "1"), _flat_out),
    Load("WebSocket", 50, ("connect", "0", "websocket", "3", "0.5"), _connects),
    Load("polling + upgrade", 50, ("connect", "0", "polling", "3", "0.5"), _connects),
)
_BAD = ("lost", "doubled", "strange", "errors", "refused", "unended")


def main() -> None:
    """Measure all loads and print a table."""
    only = os.environ.get("ONLY", "")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster.build(directory)
        base_url = stack.enter_context(cluster.provider(directory))
        subjects = _subjects(stack, directory, base_url)
        results = {
            load.name: _compare(directory, subjects, load)
            for load in LOADS
            if only in load.name
        }
    _print(results, [subject.name for subject in subjects])
    Path(cluster.HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def _subjects(
    stack: ExitStack, directory: Path, base_url: str
) -> list[cluster.Subject]:
    seed = live.seed_database(directory, users=USERS)
    tokens = "\n".join(account.access for account in seed.accounts)
    (directory / "tokens").write_text(tokens + "\n")
    enter = stack.enter_context
    env = {"DATABASE_URL": url} if (url := os.environ.get("BENCH_DATABASE_URL")) else {}
    subjects = [enter(cluster.product(directory / "ours", seed, base_url, env))]
    peers = os.environ.get("PEERS", "node,node+db,python").split(",")
    if "node" in peers:
        subjects.append(enter(cluster.node(directory, base_url, database=False)))
    if "node+db" in peers:
        subjects.append(enter(cluster.node(directory, base_url, database=True)))
    if "python" in peers:
        subjects.append(enter(cluster.python_socketio(directory, base_url)))
    return subjects


def _compare(
    directory: Path, subjects: list[cluster.Subject], load: Load
) -> dict[str, Figures]:
    seen: dict[str, list[Figures]] = {subject.name: [] for subject in subjects}
    for _ in range(ROUNDS):
        for subject in subjects:
            result = cluster.load(directory, subject, *load.arguments, count=load.count)
            bad = {name: result[name] for name in _BAD if result[name]}
            if bad:
                print(f"{load.name}, {subject.name}: {bad}")
            seen[subject.name].append(load.figures(result))
    return {name: _median(rows) for name, rows in seen.items()}


def _median(rows: list[Figures]) -> Figures:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def _print(results: dict[str, dict[str, Figures]], names: list[str]) -> None:
    print(f"{'':<42}" + "".join(f"{name:>17}" for name in names))
    for load, by_name in results.items():
        for figure in by_name[names[0]]:
            values = "".join(f"{by_name[name][figure]:>17.2f}" for name in names)
            print(f"{load + ': ' + figure:<42}{values}")


if __name__ == "__main__":
    main()
