"""A timer that is set often and fires seldom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class LazyTimer:
    """Calls back at a deadline, or earlier.

    A deadline that moves to a later time leaves the timer as it is: it fires early, and
    the callback finds nothing due and sets it again. So a deadline that moves with
    every message does not cost a timer of the event loop each time.
    """

    __slots__ = ("_at", "_handle")

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None
        self._at = 0.0

    def set(self, deadline: float | None, callback: Callable[[], None]) -> None:
        """Set the timer, or stop it if there is no deadline.

        A stopped timer has no reference to its owner, which is thus freed immediately.
        """
        if self._handle is not None:
            if deadline is not None and deadline >= self._at:
                return
            self._handle.cancel()
            self._handle = None
        if deadline is not None:
            self._at = deadline
            loop = asyncio.get_running_loop()
            self._handle = loop.call_at(deadline, self._fire, callback)

    def is_due(self, now: float) -> bool:
        """Return whether its owner may have something to do; True if it is stopped."""
        return self._handle is None or now >= self._at

    def _fire(self, callback: Callable[[], None]) -> None:
        self._handle = None
        callback()
