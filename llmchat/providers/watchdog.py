"""One timer for a whole stream, instead of one for each read of it."""

from __future__ import annotations

import asyncio
from types import TracebackType


class DeadlinePassedError(Exception):
    """The deadline passed while the task was waiting inside the watchdog."""


class Watchdog:
    """Interrupts a wait whose deadline has passed.

    Each wait is `with watchdog: await …`. Progress extends `deadline` by a mere
    assignment: the timer finds out when it fires, and is armed again. Between waits,
    while the consumer is busy, nothing is interrupted. After the deadline no wait
    begins, even if what it would wait for is already there.

    Why not `asyncio.timeout` around each read: an answer has thousands of reads, and
    each would arm and cancel a timer. Here a read costs two comparisons.

    The only way to interrupt a task is to cancel it, and others cancel it too: a client
    that gives up, a server that stops. Their cancellation must come out as
    CancelledError, ours as DeadlinePassedError, and both may happen in one iteration of
    the event loop. So the number of cancellation requests is noted on entry, as
    `asyncio.timeout` does, and ours is taken back on exit (`uncancel`): if more are
    left than on entry, something else wants the task to end, and wins. If ours were not
    taken back, it would end the task at its next wait, far from here.

    The clock is the event loop's.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0  # uvloop's handle of what is due now does not have it
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._expired = False
        self.deadline = float("inf")

    def now(self) -> float:
        """Return the time that deadlines are measured in."""
        return self._loop.time()

    def close(self) -> None:
        """Drop the timer; the watchdog can still be entered again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> None:
        if self._loop.time() >= self.deadline:
            raise DeadlinePassedError
        # The loop is passed: to find it costs a system call, for each read of a body.
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._expired = False
        if self._timer is None or self._timer_at > self.deadline:
            self._arm()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        if not self._expired or task is None:
            return
        ours = task.uncancel() <= self._cancelling
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise DeadlinePassedError from error

    def _arm(self) -> None:
        self.close()
        if self.deadline != float("inf"):
            self._timer_at = self.deadline
            self._timer = self._loop.call_at(self.deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._task is None:
            return  # armed again by the next wait
        if self._loop.time() < self.deadline:
            self._arm()
        else:
            self._expired = True
            self._task.cancel()
