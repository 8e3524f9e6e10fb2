"""Password hashing in a few threads at a time.

A hash is slow on purpose. Without a limit, sixty concurrent log-ins would take all
processors for seconds, and every other request would wait behind them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connections

from accounts.errors import AttemptsError

# One processor stays free for everything else, if there is more than one.
AT_ONCE = max(1, (os.cpu_count() or 1) - 1)
WAITING = 200
WAIT_S = 60.0
_RETRY_S = 10


class Turns:
    """A semaphore for `at_once` callers; `waiting` more can wait up to `wait_s`."""

    def __init__(self, at_once: int, waiting: int, wait_s: float) -> None:
        self._inside = threading.BoundedSemaphore(at_once)
        self._places = threading.BoundedSemaphore(at_once + waiting)
        self._wait_s = wait_s

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and hold it for the block.

        Raises: AttemptsError, if too many wait already or the wait times out.
        """
        if not self._places.acquire(blocking=False):
            raise AttemptsError(_RETRY_S)
        try:
            if not self._inside.acquire(timeout=self._wait_s):
                raise AttemptsError(_RETRY_S)
            try:
                yield
            finally:
                self._inside.release()
        finally:
            self._places.release()


_turns = Turns(AT_ONCE, WAITING, WAIT_S)


class BoundedPBKDF2PasswordHasher(PBKDF2PasswordHasher):
    """Django's own hasher, limited to a few calls at a time."""

    def encode(self, password: str, salt: Any, iterations: int | None = None) -> str:
        """Called by Django to hash or to check a password. Raises: AttemptsError."""
        if _in_transaction():
            # Rare (an operator sets a password), and locks are held: do not queue.
            return super().encode(password, salt, iterations)
        # Hold no database connection while hashing: the pool has only a few.
        connections.close_all()
        with _turns.turn():
            return super().encode(password, salt, iterations)


def _in_transaction() -> bool:
    opened = connections.all(initialized_only=True)
    return any(connection.in_atomic_block for connection in opened)
