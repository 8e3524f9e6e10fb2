"""What a second worker costs: for answers relayed to it, and for answers of its own.

Two workers share a database and a Redis. Each has its own sockets, but a client that
polls through a balancer without stickiness may have its session in one worker and send
its polls to the other. And with half of the clients, each worker should spend as much
on an answer as a single worker does, so that two can carry twice as many.

With `CLUSTER_ENGINE`, two workers in Node relay the same polls for comparison.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import cluster, loads, report
from benchmarks.cluster import Subject
from benchmarks.loads import LOADS, Load
from tests.postgres import running_postgres, seed_postgres
from tests.support import live
from tests.support.redis_server import RedisServer

USERS = 300
ROUNDS = int(os.environ.get("ROUNDS", "1" if loads.QUICK else "3"))
# The directory of a built copy of Socket.IO's package "cluster-engine".
CLUSTER_ENGINE = os.environ.get("CLUSTER_ENGINE", "")
# How many clients poll; with the first number, the worker is idle part of the time.
_POLLERS = (20, 100)
_SHARED = ("short streams", "100 streams × 30 tokens/s", "WebSocket connects")


@dataclass(frozen=True, slots=True)
class Site:
    """Workers with a database and a Redis in common, and the provider's address."""

    one: Subject
    all: Subject
    base_url: str
    redis_url: str


def main() -> None:
    """Measure and print what relaying costs, and what two workers cost next to one."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(site(directory, [cluster.SERVER_CPU] * 2))
        pairs = {"": (ours.one, ours.all)}
        if CLUSTER_ENGINE:
            pairs["node "] = _node(stack, directory, ours)
        by_name = {load.name: load for load in LOADS}
        for count in _POLLERS:
            local = replace(by_name[_named(100)], count=count, name=_named(count))
            relayed = replace(local, transport="relayed")
            for name, (one, both) in pairs.items():
                cases = {
                    f"{name}local": (one, local),
                    f"{name}relayed": (both, relayed),
                }
                _compare(directory, cases)
        for name in _SHARED:
            load = by_name[name]
            _compare(directory, {"one": (ours.one, load), "two": (ours.all, load)})


def _named(count: int) -> str:
    return f"{count} polling streams × 30 tokens/s"


def _compare(directory: Path, cases: dict[str, tuple[Subject, Load]]) -> None:
    """Put loads on the workers in turn; print the medians and the ratio."""
    rounds: dict[str, list[loads.Figures]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, (subject, load) in cases.items():
            seen = cluster.load(directory, subject, *load.arguments)
            report.check(load.name, name, seen, server=subject.name)
            rounds[name].append(load.figures(seen))
    _, load = next(iter(cases.values()))
    report.print_load(load.name, rounds)
    report.print_ratios(rounds)


@contextmanager
def site(
    directory: Path, cpus: Sequence[str], load_cpu: str = cluster.LOAD_CPU
) -> Iterator[Site]:
    """Build the load programs, and run a worker on each of the one or two `cpus`."""
    cluster.build(directory)
    with ExitStack() as stack:
        enter = stack.enter_context
        base_url = enter(cluster.provider(directory, load_cpu))
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
        subjects = [
            enter(
                cluster.product(directory / name, seed, base_url, url, redis.url, cpu)
            )
            for name, cpu in zip(("one", "two"), cpus, strict=False)
        ]
        yield Site(subjects[0], _together(subjects), base_url, redis.url)


def _node(stack: ExitStack, directory: Path, ours: Site) -> tuple[Subject, Subject]:
    """Run two workers in Node with the Redis of ours; return the first, and both."""
    cluster.install_node_peer()
    environment = {"CLUSTER_ENGINE": CLUSTER_ENGINE, "REDIS": ours.redis_url}
    one, two = (
        stack.enter_context(
            cluster.peer("node", directory, ours.base_url, **environment)
        )
        for _ in range(2)
    )
    return one, _together([one, two])


def _together(subjects: list[Subject]) -> Subject:
    return replace(subjects[0], other=subjects[1]) if len(subjects) > 1 else subjects[0]
