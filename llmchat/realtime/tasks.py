"""Tasks that have an owner."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any


class Tasks:
    """Keeps references to tasks until they end, since the event loop does not.

    It is true while it has tasks that must be left to end by themselves.
    """

    __slots__ = ("_cancelled", "_loose", "_tasks")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] | None = None  # most owners are idle
        self._cancelled = False
        self._loose = 0

    def __bool__(self) -> bool:
        return len(self._tasks or ()) > self._loose

    def run(
        self, work: Coroutine[Any, Any, Any], *, is_loose: bool = False
    ) -> asyncio.Task[Any]:
        """Run work as a task; after `cancel`, it is cancelled immediately.

        Work that `is_loose` may be cancelled at any time: its end is not waited for.
        """
        task = asyncio.get_running_loop().create_task(work)
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        self._loose += is_loose
        task.add_done_callback(partial(self._on_done, is_loose))
        if self._cancelled:
            task.cancel()
        return task

    def cancel(self) -> None:
        """Cancel all tasks, and all that are started later."""
        self._cancelled = True
        for task in self._tasks or ():
            task.cancel()

    def _on_done(self, was_loose: bool, task: asyncio.Task[Any]) -> None:
        self._loose -= was_loose
        if self._tasks is not None:
            self._tasks.discard(task)
            self._tasks = self._tasks or None
