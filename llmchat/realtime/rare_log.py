"""Warnings that any client can cause: at most one line a minute of each kind."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

INTERVAL_S = 60.0


class RareLog:
    """Writes warnings to a log, and says how many were left out."""

    def __init__(
        self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._next: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def warn(self, kind: str, text: str) -> None:
        """Write a warning, unless one of its kind was written a moment ago."""
        now = self._clock()
        if now < self._next.get(kind, now):
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return
        self._next[kind] = now + INTERVAL_S
        if left_out := self._left_out.pop(kind, 0):
            text += f" ({left_out} more since the last such line)"
        self._logger.warning("%s", text)
