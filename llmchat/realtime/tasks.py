"""Tasks that belong to somebody."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """Holds tasks until they have ended, since the event loop does not."""

    __slots__ = ("_cancelled", "_tasks")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] | None = None  # most owners are idle
        self._cancelled = False

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run work as a task; cancelled at once behind `cancel`."""
        task = asyncio.get_running_loop().create_task(work)
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        if self._cancelled:
            task.cancel()
        return task

    def cancel(self) -> None:
        """Cancel all tasks, and those that follow."""
        self._cancelled = True
        for task in self._tasks or ():
            task.cancel()

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        if self._tasks is not None:
            self._tasks.discard(task)
            self._tasks = self._tasks or None
