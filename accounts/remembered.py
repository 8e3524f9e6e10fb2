"""A brief memory of users and API keys, so that a burst of requests reads them once.

A change made in this process is seen immediately, one made elsewhere within `KEPT_S`.
Users who keep sending requests are read together, one query for all whose time is over.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db import transaction

if TYPE_CHECKING:
    from accounts.models import ApiKey, User

KEPT_S = 1.0
MOST = 10_000
# How many users are read along with one, and how long before their time is over: in
# its later half, so that nobody is read along more than twice in `KEPT_S`.
MOST_DUE = 100
DUE_S = KEPT_S / 2

Name = TypeVar("Name")
Row = TypeVar("Row")


class _Entry(Generic[Row]):
    """A row, when its time is over, and whether it was asked for since it was read."""

    __slots__ = ("is_used", "row", "until")

    def __init__(self, row: Row, until: float) -> None:
        self.row = row
        self.until = until
        self.is_used = False


class Kept(Generic[Name, Row]):
    """Rows by their lookup value, each kept for `KEPT_S` from the time it was read."""

    def __init__(
        self,
        name_of: Callable[[Row], Name],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name_of = name_of
        self._clock = clock
        self._rows: dict[Name, _Entry[Row]] = {}  # the oldest first
        self._changes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, name: Name) -> Row | None:
        """Return a copy of a row, or None if the database must be queried."""
        kept = self._look_up(name)
        # A copy, because callers may change a user or cache permissions on it.
        return None if kept is None else copy.copy(kept)

    def _look_up(self, name: Name) -> Row | None:
        entry = self._rows.get(name)
        if entry is None or self._clock() >= entry.until:
            return None
        entry.is_used = True
        return entry.row

    def read(self, load: Callable[[], Row]) -> Row:
        """Load a row and keep it, unless any row changed while it was loaded."""
        changes, read_at = self._changes, self._clock()
        row = load()
        self._keep([copy.copy(row)], changes, read_at)
        return row

    def _keep(self, rows: Iterable[Row], changes: int, read_at: float) -> None:
        """Keep rows that were read at this time, before which were so many changes.

        A row that was read later stays.
        """
        until = read_at + KEPT_S
        with self._lock:
            if changes != self._changes:
                return
            for row in rows:
                name = self._name_of(row)
                entry = self._rows.pop(name, None)
                if entry is None or entry.until <= until:
                    entry = _Entry(row, until)
                self._make_room(read_at)
                self._rows[name] = entry

    def forget(self, name: Name) -> None:
        """Drop a row; rows that are being read at this time are not kept either."""
        with self._lock:
            self._changes += 1
            self._rows.pop(name, None)

    def _make_room(self, now: float) -> None:
        while self._rows:
            oldest = next(iter(self._rows))
            if len(self._rows) < MOST and self._rows[oldest].until > now:
                return
            del self._rows[oldest]


class Remembered(Kept[int, "User"]):
    """Active users by their primary keys."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(attrgetter("pk"), clock)

    def is_known(self, user_id: int, generation: int | None) -> bool:
        """Return whether a kept, active user has this generation; None fits any."""
        user = self._look_up(user_id)
        return user is not None and generation in (None, user.token_generation)

    def read_due(
        self, user_id: int, load: Callable[[int, list[int]], Iterable[User]]
    ) -> User | None:
        """Load an active user, and others along with that one; None: there is none.

        The others are those who were asked for since they were read, and whose time is
        nearly over. All are kept, unless any user changed while they were loaded.
        """
        due = self._take_due(user_id)
        changes, read_at = self._changes, self._clock()
        users = {user.pk: user for user in load(user_id, due)}
        self._keep(users.values(), changes, read_at)
        for ident in (user_id, *due):
            # Only a change in another process leads to this.
            if ident not in users and ident in self._rows:
                self.forget(ident)
        return copy.copy(users.get(user_id))

    def _take_due(self, user_id: int) -> list[int]:
        """Return the users to read along with one, each to one caller only."""
        due: list[int] = []
        soon = self._clock() + DUE_S
        with self._lock:
            for other, entry in self._rows.items():
                if entry.until > soon or len(due) == MOST_DUE:
                    break
                if entry.is_used and other != user_id:
                    entry.is_used = False
                    due.append(other)
        return due


class RememberedKeys(Kept[str, "ApiKey"]):
    """API keys by their digests, whatever their state."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(attrgetter("digest"), clock)

    def forget_of(self, user_id: int) -> None:
        """Drop the keys of a user."""
        for digest, entry in list(self._rows.items()):
            if entry.row.user_id == user_id:
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
