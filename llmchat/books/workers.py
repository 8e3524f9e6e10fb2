"""The identity of this worker, and whether another worker is still alive.

An answer's row names its worker, which has a row of its own with its lease. After a
crash, a worker on the same machine can be recognized as gone immediately; for a worker
on another machine, only the lease shows it.
"""

from __future__ import annotations

import os
import uuid
from functools import cache
from pathlib import Path

_UNKNOWN = "-"


def worker_id() -> str:
    """Return the identity of this process: `<place>/<pid>/<start>`."""
    return _worker_id(os.getpid())


def is_known_dead(worker: str) -> bool:
    """Return whether the process `worker` has certainly ended.

    False if that is unknown: it may run on another machine.
    """
    place, _, process = worker.partition("/")
    pid, _, started = process.partition("/")
    if place != _place() or place == _UNKNOWN or not pid.isdecimal():
        return False
    now = _started(int(pid))
    return now is not None and now != started


@cache
def _worker_id(pid: int) -> str:
    if started := _started(pid):
        return f"{_place()}/{pid}/{started}"
    return f"{_UNKNOWN}/{pid}/{uuid.uuid4().hex}"


@cache
def _place() -> str:
    """Return the pid namespace of this boot, in which a pid is unique."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}.{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return _UNKNOWN


def _started(pid: int) -> str | None:
    """Return when process `pid` started, in ticks since boot, "" if there is none.

    None means that it cannot be read, for example because of too many open files. A pid
    is reused, but not with the same start.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    except OSError:
        return None
    # The second field is the command's name, which may contain anything.
    fields = stat.rpartition(")")[2].split()
    state, start = fields[0], fields[19]
    return "" if state in "ZX" else start
