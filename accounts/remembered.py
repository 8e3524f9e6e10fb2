"""Users who were active a moment ago, so that a burst of requests reads them once.

A change made in this process is seen at once, one made elsewhere within `KEPT_S`.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction

if TYPE_CHECKING:
    from accounts.models import User

KEPT_S = 1.0
MOST = 10_000


class Remembered:
    """Active users by their keys, each for `KEPT_S` from when its row was read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._users: dict[int, tuple[float, User]] = {}  # the oldest first
        self._changes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._users)

    def holds(self, user_id: int, generation: int) -> bool:
        """Return whether a user was active a moment ago, with such tokens."""
        kept = self._users.get(user_id)
        if kept is None or self._clock() >= kept[0]:
            return False
        return kept[1].token_generation == generation

    def find(self, user_id: int) -> User | None:
        """Return a copy of a user, None where the database must be asked."""
        until, user = self._users.get(user_id, (0.0, None))
        # A copy, since whoever gets a user may change it or cache permissions on it.
        return copy.copy(user) if user and self._clock() < until else None

    def read(self, load: Callable[[], User]) -> User:
        """Load an active user and keep it, unless some user has changed meanwhile."""
        changes, read_at = self._changes, self._clock()
        user = load()
        with self._lock:
            if changes == self._changes:
                self._make_room(read_at)
                self._users.pop(user.pk, None)
                self._users[user.pk] = (read_at + KEPT_S, copy.copy(user))
        return user

    def forget(self, user_id: int) -> None:
        """Drop a user, and what is being read of any."""
        with self._lock:
            self._changes += 1
            self._users.pop(user_id, None)

    def _make_room(self, now: float) -> None:
        while self._users:
            oldest = next(iter(self._users))
            if len(self._users) < MOST and self._users[oldest][0] > now:
                return
            del self._users[oldest]


remembered = Remembered()


def forget_user(instance: User, using: str, **kwargs: Any) -> None:
    """Called when a user has been saved or deleted."""
    forget = partial(remembered.forget, instance.pk)
    forget()
    # Until the commit others still read, and keep, the row as it was.
    transaction.on_commit(forget, using=using)
