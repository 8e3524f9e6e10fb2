"""Who writes an answer: the identity of this process, and whether another still lives.

An answer's row names its worker, which has a row of its own with its lease. After a
crash, a worker on the same machine can be seen to be gone at once; of one elsewhere
only its lease tells.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from django.db import connection, transaction

from llmchat.books.turn import LEASE
from llmchat.models import Worker

_UNKNOWN = "-"
_FORGOTTEN_AFTER = timedelta(days=1)
_RENEW = f"""
    INSERT INTO {Worker._meta.db_table} (name, lease_until) VALUES (%s, %s)
    ON CONFLICT (name) DO UPDATE SET lease_until = excluded.lease_until
"""
# Until when the lease of this process runs at least, as far as it knows.
_leases: dict[str, datetime] = {}


def worker_id() -> str:
    """Return the identity of this process: `<place>/<pid>/<start>`."""
    return _worker_id(os.getpid())


def is_known_dead(worker: str) -> bool:
    """Return whether the process `worker` certainly does not run any more.

    False where nothing is known: it may run on another machine.
    """
    place, _, process = worker.partition("/")
    pid, _, started = process.partition("/")
    if place != _place() or place == _UNKNOWN or not pid.isdecimal():
        return False
    return _started(int(pid)) != started


def renew_lease(now: datetime) -> None:
    """Extend the lease of this process."""
    until = now + LEASE
    with connection.cursor() as cursor:
        adapted = connection.ops.adapt_datetimefield_value(until)
        cursor.execute(_RENEW, [worker_id(), adapted])
    transaction.on_commit(lambda: _leases.update({worker_id(): until}))


def keep_lease(now: datetime) -> None:
    """Extend the lease of this process where it runs out soon."""
    until = _leases.get(worker_id())
    if until is None or until < now + LEASE / 2:
        renew_lease(now)


def leases_of(workers: Collection[str]) -> dict[str, datetime]:
    """Return until when these processes are known to live."""
    rows = Worker.objects.filter(name__in=workers)
    return dict(rows.values_list("name", "lease_until"))


def is_alive(worker: str, lease_until: datetime | None, now: datetime) -> bool:
    """Return whether a process may still write its answers."""
    has_lease = lease_until is not None and lease_until >= now
    return has_lease and not is_known_dead(worker)


def forget_old(now: datetime) -> None:
    """Delete the rows of processes that have long been gone."""
    Worker.objects.filter(lease_until__lt=now - _FORGOTTEN_AFTER).delete()


@cache
def _worker_id(pid: int) -> str:
    started = _started(pid) or uuid.uuid4().hex
    return f"{_place()}/{pid}/{started}"


@cache
def _place() -> str:
    """Return what a process number is unique in: this boot's space of them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}.{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return _UNKNOWN


def _started(pid: int) -> str:
    """Return when process `pid` started, in ticks since boot, "" if there is none.

    A process number is used again; with its start it is not.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The second field is the command's name, which may hold anything.
    fields = stat.rpartition(")")[2].split()
    state, start = fields[0], fields[19]
    return "" if state in "ZX" else start
