"""What a second worker costs: for answers relayed to it, and for answers of its own.

Two workers share a database and a Redis. Each has its own sockets, but a client that
polls through a balancer without stickiness may have its session in one worker and send
its polls to the other. And with half of the clients, each worker should spend as much
on an answer as a single worker does, so that two can carry twice as many.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks import cluster, loads, report
from benchmarks.cluster import Subject
from benchmarks.loads import LOADS, Load, faults
from tests.postgres import running_postgres, seed_postgres
from tests.support import live
from tests.support.redis_server import RedisServer

USERS = 300
ROUNDS = int(os.environ.get("ROUNDS", "1" if loads.QUICK else "3"))
# How many clients poll; with the first number, the worker is idle part of the time.
_POLLERS = (20, 100)
_SHARED = ("short streams", "100 streams × 30 tokens/s", "WebSocket connects")


def main() -> None:
    """Measure and print what relaying costs, and what two workers cost next to one."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster.build(directory)
        one, both = stack.enter_context(_workers(directory))
        by_name = {load.name: load for load in LOADS}
        for count in _POLLERS:
            local = replace(by_name[_named(100)], count=count, name=_named(count))
            relayed = replace(local, transport="relayed")
            _compare(directory, {"local": (one, local), "relayed": (both, relayed)})
        for name in _SHARED:
            load = by_name[name]
            _compare(directory, {"one": (one, load), "two": (both, load)})


def _named(count: int) -> str:
    return f"{count} polling streams × 30 tokens/s"


def _compare(directory: Path, cases: dict[str, tuple[Subject, Load]]) -> None:
    """Put loads on the workers in turn; print the medians and the ratio."""
    rounds: dict[str, list[loads.Figures]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, (subject, load) in cases.items():
            seen = cluster.load(directory, subject, *load.arguments)
            if wrong := faults(seen):
                print(f"{load.name}, {name}: {wrong}", flush=True)
            rounds[name].append(load.figures(seen))
    first, second = cases
    report.print_load(cases[first][1].name, rounds)
    was, now = (report.medians(rounds[name]) for name in (first, second))
    ratios = (f"{figure} {now[figure] / was[figure]:.2f}" for figure in was)
    print(f"    {second} ÷ {first}: {', '.join(ratios)}", flush=True)


@contextmanager
def _workers(directory: Path) -> Iterator[tuple[Subject, Subject]]:
    """Run two workers; yield the first as a subject, and both as another."""
    with ExitStack() as stack:
        enter = stack.enter_context
        base_url = enter(cluster.provider(directory))
        redis = RedisServer()
        redis.start()
        stack.callback(redis.kill)
        seed = live.seed_database(directory, users=USERS)
        database = directory / "shared.sqlite3"
        shutil.copy(seed.path, database)
        url, accounts = f"sqlite:///{database}", seed.accounts
        if os.environ.get("POSTGRES") == "1":
            url = enter(running_postgres())
            accounts = seed_postgres(url, users=USERS)
        tokens = "\n".join(account.access for account in accounts)
        (directory / "tokens").write_text(tokens + "\n")
        one, two = (
            enter(cluster.product(directory / name, seed, base_url, url, redis.url))
            for name in ("one", "two")
        )
        yield one, replace(one, other=two)
