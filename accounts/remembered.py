"""A brief memory of users and API keys, so that a burst of requests reads them once.

A change made in this process is seen immediately, one made elsewhere within `KEPT_S`.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db import transaction

if TYPE_CHECKING:
    from accounts.models import ApiKey, User

KEPT_S = 1.0
MOST = 10_000

Name = TypeVar("Name")
Row = TypeVar("Row")


class Kept(Generic[Name, Row]):
    """Rows by their lookup value, each kept for `KEPT_S` from the time it was read."""

    def __init__(
        self,
        name_of: Callable[[Row], Name],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name_of = name_of
        self._clock = clock
        self._rows: dict[Name, tuple[float, Row]] = {}  # the oldest first
        self._changes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, name: Name) -> Row | None:
        """Return a copy of a row, or None if the database must be queried."""
        until, row = self._rows.get(name, (0.0, None))
        # A copy, because callers may change a user or cache permissions on it.
        return copy.copy(row) if row and self._clock() < until else None

    def read(self, load: Callable[[], Row]) -> Row:
        """Load a row and keep it, unless any row changed while it was loaded."""
        changes, read_at = self._changes, self._clock()
        row = load()
        name = self._name_of(row)
        with self._lock:
            if changes == self._changes:
                self._make_room(read_at)
                self._rows.pop(name, None)
                self._rows[name] = (read_at + KEPT_S, copy.copy(row))
        return row

    def forget(self, name: Name) -> None:
        """Drop a row; rows that are being read at this time are not kept either."""
        with self._lock:
            self._changes += 1
            self._rows.pop(name, None)

    def _make_room(self, now: float) -> None:
        while self._rows:
            oldest = next(iter(self._rows))
            if len(self._rows) < MOST and self._rows[oldest][0] > now:
                return
            del self._rows[oldest]


class Remembered(Kept[int, "User"]):
    """Active users by their primary keys."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(attrgetter("pk"), clock)

    def is_known(self, user_id: int, generation: int | None) -> bool:
        """Return whether a kept, active user has this generation; None fits any."""
        kept = self._rows.get(user_id)
        if kept is None or self._clock() >= kept[0]:
            return False
        return generation in (None, kept[1].token_generation)


class RememberedKeys(Kept[str, "ApiKey"]):
    """API keys by their digests, whatever their state."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(attrgetter("digest"), clock)

    def forget_of(self, user_id: int) -> None:
        """Drop the keys of a user."""
        for digest, (_, row) in list(self._rows.items()):
            if row.user_id == user_id:
                self.forget(digest)


remembered = Remembered()
remembered_keys = RememberedKeys()


def forget_user(instance: User, using: str, **kwargs: Any) -> None:
    """Drop a user; called when the user was saved or deleted."""
    _forget(partial(remembered.forget, instance.pk), using)


def forget_key(instance: ApiKey, using: str, **kwargs: Any) -> None:
    """Drop an API key; called when the key was saved or deleted."""
    _forget(partial(remembered_keys.forget, instance.digest), using)


def _forget(forget: Callable[[], None], using: str) -> None:
    forget()
    # Until the commit, other threads still read the old row, and keep it.
    transaction.on_commit(forget, using=using)
