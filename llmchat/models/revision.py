"""Rows that rarely change, and the revision that says when they have.

Each change of a `Watched` row writes a new word into the only row of `Revision`, in the
same transaction. Code that remembers such rows reads the word on each use, and reads
the rows again when the word has changed. Words are random, so that a restored or
flushed database never repeats one.

The word is written before the watched row, so that every transaction locks it first.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar

from django.db import connection, models, transaction
from django.db.models.signals import post_save, pre_delete

_ROW = 1
# Counters and test results, which are never remembered.
_UNREMEMBERED = frozenset(
    {"spent", "period_start", "told_at", "last_used_at", "tested_at", "test_problem"}
)

M = TypeVar("M", bound=models.Model)


class Revision(models.Model):
    """The word that every change of a watched row replaces."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=_ROW)
    word = models.UUIDField(default=uuid.uuid4)

    def __str__(self) -> str:
        return str(self.word)


def revise() -> None:
    """Write a new word, because watched rows change in this transaction."""
    rows = Revision.objects.filter(pk=_ROW)
    if not rows.update(word=uuid.uuid4()):
        _write_first()
        rows.update(word=uuid.uuid4())


def hold_revision() -> None:
    """Lock the word without waiting, before changes that may not wait for others.

    Raises: OperationalError: another transaction is changing watched rows.
    """
    rows = Revision.objects.select_for_update(nowait=True, no_key=True)
    list(rows.filter(pk=_ROW).values_list("pk"))


def ensure_revision() -> None:
    """Write a word if there is none: without one, no rows can be remembered."""
    if current_revision() is None:
        _write_first()


def _write_first() -> None:
    Revision.objects.bulk_create([Revision()], ignore_conflicts=True)


def current_revision() -> str | None:
    """Return the current word, None if no watched row was ever changed."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT word FROM {Revision._meta.db_table} WHERE id = {_ROW}")
        row = cursor.fetchone()
    return str(row[0]) if row else None


class WatchedQuerySet(models.QuerySet[M]):
    """A query set whose changes also change the revision."""

    def update(self, **fields: Any) -> int:
        """Update the rows."""
        with transaction.atomic():
            _revise_for(fields)
            return super().update(**fields)

    def bulk_create(self, *args: Any, **kwargs: Any) -> list[M]:
        """Insert rows."""
        with transaction.atomic():
            revise()
            return super().bulk_create(*args, **kwargs)

    def bulk_update(
        self,
        objs: Iterable[M],
        fields: Iterable[str],
        batch_size: int | None = None,
    ) -> int:
        """Update rows, each to values of its own."""
        names = list(fields)
        with transaction.atomic():
            _revise_for(names)
            return super().bulk_update(objs, names, batch_size)


class Watched(models.Model):
    """A row whose changes also change the revision."""

    objects: ClassVar[Any] = models.Manager.from_queryset(WatchedQuerySet)()

    class Meta:
        abstract = True
        # `provider.keys.add(key)` updates through the base manager.
        base_manager_name = "objects"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the row."""
        with transaction.atomic():
            _revise_for(kwargs.get("update_fields"))
            super().save(*args, **kwargs)


def _revise_for(fields: Iterable[str] | None) -> None:
    if fields is None or not _UNREMEMBERED.issuperset(fields):
        revise()


def watch(*watched: type[Watched]) -> None:
    """Revise for changes that bypass the models' methods, too: deletions, fixtures."""
    for model in watched:
        pre_delete.connect(_on_delete, sender=model)
        post_save.connect(_on_load, sender=model)


def _on_delete(sender: Any, **kwargs: Any) -> None:
    """Revise; called by Django in the same transaction, before it deletes any row."""
    revise()


def _on_load(sender: Any, raw: bool = False, **kwargs: Any) -> None:
    if raw:
        revise()
