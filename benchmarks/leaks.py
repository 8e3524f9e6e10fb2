"""Whether short streams leave anything behind.

Memory, descriptors and threads are those of the process. Tasks, connections to the
provider and sockets are what its `/metrics` says.
"""

from __future__ import annotations

import time
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from benchmarks import cluster, report
from benchmarks.loads import QUICK, Figures

STREAMS = 1_000 if QUICK else 30_000
WARM_UP = 500 if QUICK else 5_000
NAME = "thousands of short streams"
# Wait until the state of closed connections is freed: it is kept for their recovery.
_SETTLED_S = cluster.RECOVERY_WINDOW_S + (2 if QUICK else 5)
_LIMIT_S = 1_800
# What is held inside the process, by the metric that counts it.
_COUNTED = {
    "llmchat_asyncio_tasks": "tasks",
    "llmchat_provider_connections_in_use": "provider connections in use",
    "llmchat_streams_running": "streams",
    "llmchat_sockets_absent": "absent sockets",
}


def measure(directory: Path, subject: cluster.Subject) -> dict[str, list[Figures]]:
    """Return by how much the server has grown since the warm-up."""
    _run(directory, subject, WARM_UP)
    before = _held(subject)
    _run(directory, subject, STREAMS)
    after = _held(subject)
    grown = {name: after[name] - before[name] for name in after}
    grown["memory, %"] = grown["memory, KiB"] / before["memory, KiB"] * 100
    return {subject.name: [grown]}


def _run(directory: Path, subject: cluster.Subject, count: int) -> None:
    arguments = (32, "websocket", "closed", count, "t10r0", _LIMIT_S, 0)
    seen = cluster.load(directory, subject, *arguments)
    report.check(NAME, subject.name, seen)
    time.sleep(_SETTLED_S)


def _held(subject: cluster.Subject) -> Figures:
    process = Path(f"/proc/{subject.pid}")
    # Read first: counting opens a connection, which is closed by then.
    counted = _counted(subject.port)
    return {
        "memory, KiB": cluster.memory_kib(subject.pid),
        "descriptors": len(list((process / "fd").iterdir())),
        "threads": len(list((process / "task").iterdir())),
        **counted,
    }


def _counted(port: int) -> Figures:
    """Return what the process counts of itself."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return read_metrics(answer.read().decode())


def read_metrics(text: str) -> Figures:
    """Return the figures in a response of `/metrics`, by their names here.

    Raises: KeyError, if one is missing.
    """
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return {figure: values[name] for name, figure in _COUNTED.items()}
