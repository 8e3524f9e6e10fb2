"""Whether short streams leave anything behind: memory, descriptors, threads."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks import cluster
from benchmarks.loads import QUICK, Figures, faults

STREAMS = 1_000 if QUICK else 30_000
WARM_UP = 500 if QUICK else 5_000
NAME = "thousands of short streams"
# Wait until the state of closed connections is freed: it is kept for their recovery.
_SETTLED_S = cluster.RECOVERY_WINDOW_S + (2 if QUICK else 5)
_LIMIT_S = 1_800


def measure(directory: Path, subject: cluster.Subject) -> dict[str, list[Figures]]:
    """Return by how much the server has grown since the warm-up."""
    _run(directory, subject, WARM_UP)
    before = _held(subject.pid)
    _run(directory, subject, STREAMS)
    after = _held(subject.pid)
    grown = {name: after[name] - before[name] for name in after}
    grown["memory, %"] = grown["memory, KiB"] / before["memory, KiB"] * 100
    return {subject.name: [grown]}


def _run(directory: Path, subject: cluster.Subject, count: int) -> None:
    arguments = (32, "websocket", "closed", count, "t10r0", _LIMIT_S, 0)
    seen = cluster.load(directory, subject, *arguments)
    if wrong := faults(seen):
        print(f"{NAME}: {wrong}", flush=True)
    time.sleep(_SETTLED_S)


def _held(pid: int) -> Figures:
    process = Path(f"/proc/{pid}")
    return {
        "memory, KiB": cluster.memory_kib(pid),
        "descriptors": len(list((process / "fd").iterdir())),
        "threads": len(list((process / "task").iterdir())),
    }
