"""When API keys were last used: noted in memory, stored once a minute for each key.

Checking a key only notes its use. Code that can wait for the database stores it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from accounts.models import ApiKey

EVERY_S = 60.0


class Uses:
    """The digests of keys whose use is to be stored, and when each was last stored."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: set[str] = set()
        self._stored: dict[str, float] = {}

    @property
    def are_due(self) -> bool:
        """Whether anything is to be stored."""
        return bool(self._due)

    def note(self, digest: str) -> None:
        """Note that a key is being used, unless that was stored within `EVERY_S`."""
        stored_at = self._stored.get(digest)
        if stored_at is None or self._clock() >= stored_at + EVERY_S:
            self._due.add(digest)

    def store(self) -> None:
        """Store what is due."""
        due, self._due = self._due, set()
        now = timezone.now()
        # Another process may have stored a use a moment ago: those rows are left alone.
        earlier = Q(last_used_at__lt=now - timedelta(seconds=EVERY_S))
        # One by one, so that two processes with the same keys cannot deadlock.
        for digest in list(due):
            keys = ApiKey.objects.filter(earlier | Q(last_used_at=None), digest=digest)
            keys.update(last_used_at=now)
            self._stored[digest] = self._clock()
        self._forget_old()

    def _forget_old(self) -> None:
        oldest = self._clock() - EVERY_S
        for digest, stored_at in list(self._stored.items()):
            if stored_at <= oldest:
                del self._stored[digest]


uses = Uses()
