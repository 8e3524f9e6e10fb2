"""The ends of answers, on their way into the database.

`Done` is sent after its COMMIT. If that takes longer than `STORE_S`, the client is sent
`database_unavailable` instead, and from then on that is what is stored, so that a
client reads later what it was sent. Any other end is sent as it is after `STORE_S`.
Storing then continues without the client, each end in a task of its own with its own
backoff, so that an end that keeps failing delays no other. Each retry is a transaction
of its own: the end alone may be the reason why its batch failed, as when its statement
takes too long. There is one retry at a time, however many ends have failed.
The user's next turn waits for it, because it may continue from that answer. An end that
is given up is named in the log; at the next sweep its row becomes `interrupted`, with
the text of its last checkpoint.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from uuid import UUID

from django.db import InterfaceError, OperationalError

from llmchat.books.turn import Begun, Outcome
from llmchat.books.writer import Books
from llmchat.models import AnswerState

logger = logging.getLogger(__name__)

# A client waits no longer than this for its end to be stored; storing continues.
STORE_S = 5.0
# At most this many failed ends wait to be retried; beyond that the oldest is given up.
# Ends that wait for their first attempt, or whose outcome changed during an attempt, do
# not count: there are never more of them than answers that have begun.
MAX_PENDING = 1000
# How long an end is retried.
RETRY_FOR_S = 600.0
_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 10.0
# How long pending ends have for their last attempt when the server stops.
_LAST_ATTEMPT_S = 5.0


class _Attempt(Enum):
    """The result of an attempt."""

    STORED = auto()
    FAILED = auto()
    # It was stored, but the client has since been sent another end.
    OUTDATED = auto()


@dataclass(slots=True, eq=False)
class _End:
    """An end that is not committed yet; `is_late` once its client no longer waits."""

    begun: Begun
    outcome: Outcome
    task: asyncio.Task[None] | None = None
    is_stored: bool = False
    is_late: bool = False
    since: float = field(default_factory=time.monotonic)


class Ends:
    """The ends that this process has to store, by message, the oldest first."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._pending: dict[UUID, _End] = {}
        # The pending ends whose last attempt failed.
        self._untaken: dict[UUID, _End] = {}
        self._stopping = asyncio.Event()
        # However many ends have failed, their retries use one database thread.
        self._retrying = asyncio.Lock()

    async def store(self, begun: Begun, outcome: Outcome) -> Outcome:
        """Store an end, and return the outcome to send to the client."""
        end = self._add(begun, outcome)
        assert end.task is not None
        await asyncio.wait([end.task], timeout=STORE_S)
        if not end.is_stored:
            end.is_late = True
            ident = begun.message_id
            logger.warning("the end of answer %s was not stored in time", ident)
            if outcome.state == AnswerState.COMPLETE:
                end.outcome = _unstored(outcome)
        return end.outcome

    def store_later(self, begun: Begun, outcome: Outcome) -> None:
        """Store an end that no caller waits for; its answer may not have begun."""
        self._add(begun, outcome).is_late = True

    async def settled(self, user_id: int) -> bool:
        """Wait for the user's ends; return False if the database does not respond."""
        ends = [end for end in self._pending.values() if end.begun.user_id == user_id]
        if any(end.is_late for end in ends):
            return False
        tasks = [end.task for end in ends if end.task is not None]
        late = (await asyncio.wait(tasks, timeout=STORE_S))[1] if tasks else ()
        return not late

    def waiting(self) -> frozenset[UUID]:
        """Return the answers whose ends are not committed yet."""
        return frozenset(self._pending)

    async def close(self) -> None:
        """Try each pending end once more, and log those that are given up."""
        self._stopping.set()
        tasks = [end.task for end in self._pending.values() if end.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_ATTEMPT_S)
        for end in list(self._pending.values()):
            self._give_up(end, "the server is stopping")

    def _add(self, begun: Begun, outcome: Outcome) -> _End:
        end = self._pending[begun.message_id] = _End(begun, outcome)
        end.task = asyncio.create_task(self._keep_storing(end))
        return end

    async def _keep_storing(self, end: _End) -> None:
        try:
            is_first = True
            for delay in _delays():
                is_last = self._stopping.is_set()
                if await self._is_stored(end, is_first=is_first):
                    return
                is_first = False
                if is_last or time.monotonic() - end.since > RETRY_FOR_S:
                    break
                self._keep(end)
                await self._pause(delay)
        except Exception:
            logger.exception(
                "storing the end of answer %s failed", end.begun.message_id
            )
        self._give_up(end, "the database did not accept it")

    def _keep(self, end: _End) -> None:
        """Count an end that will be retried; at `MAX_PENDING`, give up the oldest."""
        ident = end.begun.message_id
        if ident not in self._untaken and len(self._untaken) >= MAX_PENDING:
            oldest = next(iter(self._untaken.values()))
            self._give_up(oldest, "too many others are waiting")
        self._untaken[ident] = end

    async def _is_stored(self, end: _End, *, is_first: bool) -> bool:
        """Return whether the end that the client was or will be sent is stored."""
        if is_first:
            # If it is late already, nobody knows whether its start was stored.
            attempt = await self._attempt(end, again=end.is_late)
        else:
            async with self._retrying:
                attempt = await self._attempt(end, again=True, has_failed=True)
        while attempt is _Attempt.OUTDATED:
            # Nothing has failed, so it is not counted and waits for no other retry.
            self._untaken.pop(end.begun.message_id, None)
            attempt = await self._attempt(end, again=True)
        return attempt is _Attempt.STORED

    async def _attempt(
        self, end: _End, *, again: bool = False, has_failed: bool = False
    ) -> _Attempt:
        outcome = end.outcome
        try:
            stored = await self._books.end(
                end.begun, outcome, again=again, has_failed=has_failed
            )
        except (OperationalError, InterfaceError) as exc:
            if not has_failed:
                ident = end.begun.message_id
                logger.warning("the end of answer %s is not stored yet: %s", ident, exc)
            return _Attempt.FAILED
        if end.outcome is not outcome:
            return _Attempt.OUTDATED
        end.outcome, end.is_stored = stored, True
        del self._pending[end.begun.message_id]
        self._untaken.pop(end.begun.message_id, None)
        return _Attempt.STORED

    async def _pause(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _give_up(self, end: _End, reason: str) -> None:
        if self._pending.pop(end.begun.message_id, None) is None:
            return
        self._untaken.pop(end.begun.message_id, None)
        logger.error("the end of answer %s is lost: %s", end.begun.message_id, reason)
        if end.task is not None and end.task is not asyncio.current_task():
            end.task.cancel()


def _delays() -> Iterator[float]:
    """Yield how long to wait after each failed attempt."""
    delay = _FIRST_DELAY_S
    while True:
        yield delay
        delay = min(2 * delay, _MAX_DELAY_S)


def _unstored(outcome: Outcome) -> Outcome:
    """Return the outcome of a complete answer that is not committed in time."""
    return replace(
        outcome,
        state=AnswerState.ERROR,
        finish_reason="error",
        error_code="database_unavailable",
        error_detail="The answer was complete, but could not be stored in time.",
        tool_calls=(),
    )
