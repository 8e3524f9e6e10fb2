"""How much more two cores carry than one, with all that is needed running on them.

On one core there is one worker. On two, each has a worker of its own, and there are
twice as many clients. The database, Redis, the provider and the clients have no cores
of their own: what they use is not left for the workers, with one core as with two. If
the two are threads of one physical core, two workers carry less than twice as much.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks import cluster, loads, report
from benchmarks.loads import LOADS, Load
from benchmarks.workers import Site, site

ROUNDS = int(os.environ.get("ROUNDS", "1" if loads.QUICK else "3"))
_CARRIED = ("short streams", "flat out", "WebSocket connects", "polling + upgrade")


def main() -> None:
    """Measure and print what one core carries, and what two do."""
    chosen = [load for load in LOADS if load.name.startswith(_CARRIED)]
    rounds: dict[str, dict[str, list[loads.Figures]]] = {
        load.name: {"one core": [], "two cores": []} for load in chosen
    }
    for _ in range(ROUNDS):
        for cores, name in enumerate(("one core", "two cores"), 1):
            for load, figures in _carried(chosen, cores):
                rounds[load.name][name].append(figures)
    for by_cores in rounds.items():
        report.print_load(*by_cores)
        report.print_ratios(by_cores[1])


def _carried(chosen: list[Load], cores: int) -> Iterator[tuple[Load, loads.Figures]]:
    """Yield the loads and their figures, with a worker on each of the cores."""
    cpus = [str(core) for core in range(cores)]
    with ExitStack() as stack:
        stack.enter_context(_only(cores))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = stack.enter_context(site(directory, cpus, ",".join(cpus)))
        for load in chosen:
            yield load, _figures(directory, running, load, cores)


@contextmanager
def _only(count: int) -> Iterator[None]:
    """Let this process, and what it starts, use the first `count` cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(count))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _figures(directory: Path, running: Site, load: Load, cores: int) -> loads.Figures:
    """Put a load on the site, from `cores` times as many clients."""
    load = replace(load, count=load.count * cores)
    cpu = ",".join(map(str, range(cores)))
    seen = cluster.load(directory, running.all, *load.arguments, cpu=cpu)
    report.check(load.name, f"cores {cpu}", seen)
    return load.figures(seen)
