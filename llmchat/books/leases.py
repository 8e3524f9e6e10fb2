"""The leases of the processes that write answers, one row for each of them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import connection, transaction

from llmchat.books.turn import LEASE
from llmchat.books.workers import is_known_dead, worker_id
from llmchat.models import Worker

_FORGOTTEN_AFTER = timedelta(days=1)
_RENEW = f"""
    INSERT INTO {Worker._meta.db_table} (name, lease_until) VALUES (%s, %s)
    ON CONFLICT (name) DO UPDATE SET lease_until = excluded.lease_until
"""
# Until when the lease of this process is known to run, by its worker id.
_leases: dict[str, datetime] = {}


def renew(now: datetime) -> None:
    """Extend the lease of this process."""
    until = now + LEASE
    with connection.cursor() as cursor:
        adapted = connection.ops.adapt_datetimefield_value(until)
        cursor.execute(_RENEW, [worker_id(), adapted])
    transaction.on_commit(lambda: _leases.update({worker_id(): until}))


def keep(now: datetime) -> None:
    """Extend the lease of this process if it runs out soon."""
    until = _leases.get(worker_id())
    if until is None or until < now + LEASE / 2:
        renew(now)


def of_workers(workers: Collection[str]) -> dict[str, datetime]:
    """Return until when the leases of these processes run."""
    rows = Worker.objects.filter(name__in=workers)
    return dict(rows.values_list("name", "lease_until"))


def is_alive(worker: str, lease_until: datetime | None, now: datetime) -> bool:
    """Return whether a process may still be writing its answers."""
    has_lease = lease_until is not None and lease_until >= now
    return has_lease and not is_known_dead(worker)


def forget_old(now: datetime) -> None:
    """Delete the rows of processes that have long been gone."""
    Worker.objects.filter(lease_until__lt=now - _FORGOTTEN_AFTER).delete()
