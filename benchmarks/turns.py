"""What turns and tokens cost, compared with peers: one core for the server, in one run.

The whole product (accounts, limits, storage) is compared with servers that send the
same events but do less: Node's socket.io with undici, with and without a database, and
python-socketio. Each load is put on them one after another, for several rounds, and the
medians are compared.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import cluster, leaks, report
from benchmarks.loads import LOADS, OPENAI_LOADS, QUICK, Figures, Load
from tests.postgres import running_postgres, seed_postgres
from tests.support import live

USERS = 300
ROUNDS = int(os.environ.get("ROUNDS", "1" if QUICK else "3"))
# Environment variables that make a run incomplete, so that it does not change the docs.
_PARTS = {"ONLY", "PEERS", "ROUNDS", "POSTGRES", "BENCH_DATABASE_URL", "LITELLM"}
LITELLM = os.environ.get("LITELLM") == "1"
PEERS = ("node", "node+db", "python-socketio")


def main() -> None:
    """Measure all loads, and print and store the table."""
    only = os.environ.get("ONLY", "")
    results: report.Results = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster.build(directory)
        subjects = _subjects(stack, directory)
        for load in (*LOADS, *(OPENAI_LOADS if LITELLM else ())):
            if only in load.name:
                results[load.name] = _compare(directory, subjects, load)
                report.print_load(load.name, results[load.name])
        if only in leaks.NAME:
            results[leaks.NAME] = leaks.measure(directory, subjects[0])
            report.print_load(leaks.NAME, results[leaks.NAME])
    report.write(results, is_whole=not (QUICK or _PARTS & os.environ.keys()))


def _subjects(stack: ExitStack, directory: Path) -> list[cluster.Subject]:
    enter = stack.enter_context
    base_url = enter(cluster.provider(directory))
    database_url = os.environ.get("BENCH_DATABASE_URL", "")
    if os.environ.get("POSTGRES") == "1":
        database_url = enter(running_postgres())
    seed = live.seed_database(directory, users=USERS)
    accounts = seed.accounts
    if database_url:
        accounts = seed_postgres(database_url, users=USERS)
    tokens = "\n".join(account.access for account in accounts)
    (directory / "tokens").write_text(tokens + "\n")
    ours = cluster.product(directory / "ours", seed, base_url, database_url)
    subjects = [enter(ours)]
    peers = os.environ.get("PEERS", ",".join(PEERS)).split(",")
    if any(peer.startswith("node") for peer in peers):
        cluster.install_node_peer()
    chosen = [peer for peer in PEERS if peer in peers]
    subjects += [enter(cluster.peer(peer, directory, base_url)) for peer in chosen]
    if LITELLM:
        cluster.install_litellm()
        subjects.append(enter(cluster.litellm(directory, base_url)))
    return subjects


def _compare(
    directory: Path, subjects: list[cluster.Subject], load: Load
) -> dict[str, list[Figures]]:
    subjects = [subject for subject in subjects if load.api in subject.apis]
    rounds: dict[str, list[Figures]] = {subject.name: [] for subject in subjects}
    for _ in range(min(ROUNDS, load.rounds)):
        for subject in subjects:
            seen = cluster.load(directory, subject, *load.arguments, memory=load.memory)
            report.check(load.name, subject.name, seen, server=subject.name)
            rounds[subject.name].append(load.figures(seen))
    return rounds
