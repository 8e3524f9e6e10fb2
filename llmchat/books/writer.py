"""The one writer of a process, which puts everything that waits in one transaction.

A single turn is stored immediately; what arrives while a batch is being stored forms
the next batch. An item that needs a row held by another transaction waits for it in a
thread of its own, so that the others need not wait. A start that is refused because of
its user's running answers is tried again once those of dead processes are swept: in
another thread too, and once for all such starts of the user. An end that has failed is
stored in a transaction of its own, because it may have been what its batch failed of.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import InterfaceError, OperationalError

from llmchat import log_fields
from llmchat.books.batch import (
    Contended,
    Item,
    Result,
    blocked_user,
    store,
    store_alone,
    unstored,
)
from llmchat.books.checkpoint import Checkpointed
from llmchat.books.conversations import start_of
from llmchat.books.sweep import sweep
from llmchat.books.turn import (
    Begun,
    Checkpoint,
    End,
    KeyRefusal,
    Outcome,
    Progress,
    Turn,
)
from llmchat.database import QUEUE_S, THREADS, in_database, store_in_database
from llmchat.errors import unavailable

# How many items one transaction stores at most, and how many may wait for it before new
# turns are refused.
BATCH = 100
MAX_WAITING = 2000


@dataclass(slots=True)
class _Waiting:
    item: Item
    stored: asyncio.Future[Any]
    is_swept: bool = False

    def tell(self, result: Result) -> None:
        """Pass the result to the caller, if that still waits."""
        if self.stored.done():
            return
        if isinstance(result, Exception):
            self.stored.set_exception(result)
        else:
            self.stored.set_result(result)


class Books:
    """The queue of items to store, and its writer task, which ends with it."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._alone: set[asyncio.Task[None]] = set()
        # The starts that wait until their user's answers are swept, by user.
        self._blocked: dict[int, list[_Waiting]] = {}
        # One thread is kept free for what is not a turn.
        self._room = asyncio.Semaphore(THREADS - 1)

    async def begin(self, user_id: int, turn: Turn, key_id: int | None = None) -> Begun:
        """Store the user's message and the answer to come.

        Raises: ChatError; StartUnknownError, if they may be stored all the same.
        """
        if self._is_full:
            raise unavailable()
        begun: Begun = await self._stored(start_of(user_id, turn, key_id))
        return begun

    async def end(
        self,
        begun: Begun,
        outcome: Outcome,
        again: bool = False,
        *,
        has_failed: bool = False,
    ) -> Outcome:
        """Store how an answer ended, at least with its text; return what is stored.

        It is accepted however many items wait: an end refused here would be kept in
        memory elsewhere. With `has_failed` it is stored apart from all others, so that
        it can fail alone; the caller limits how many are at the same time.

        Raises: OperationalError, InterfaceError: the database does not answer.
        """
        end = End(begun, outcome, again)
        stored: Outcome = await self._stored(end, is_apart=has_failed)
        return stored

    async def checkpoint(self, progress: Sequence[Progress]) -> Checkpointed:
        """Store new text of the running answers; return which are to be stopped.

        Raises: OperationalError, InterfaceError: the database does not answer.
        """
        taken: Checkpointed = await self._stored(Checkpoint(tuple(progress)))
        return taken

    async def refuse(self, refusal: KeyRefusal) -> None:
        """Store that a provider refused a key, before any turn that arrives later.

        If another transaction holds the key, later turns do not wait for that.

        Raises: OperationalError, InterfaceError: the database does not answer.
        """
        await self._stored(refusal)

    async def close(self) -> None:
        """Wait for what is being stored, at most as long as a call can take."""
        try:
            async with asyncio.timeout(QUEUE_S):
                # A sweep has its starts stored again when it is done.
                while tasks := self._running():
                    await asyncio.wait(tasks)
        except TimeoutError:
            pass

    def _running(self) -> list[asyncio.Task[None]]:
        tasks = [*self._alone, *filter(None, [self._writer])]
        return [task for task in tasks if not task.done()]

    @property
    def _is_full(self) -> bool:
        blocked = sum(map(len, self._blocked.values()))
        return len(self._waiting) + len(self._alone) + blocked >= MAX_WAITING

    async def _stored(self, item: Item, *, is_apart: bool = False) -> Any:
        stored: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(item, stored)
        if is_apart:
            self._spawn(self._store_alone(waiting))
        else:
            self._queue(waiting)
        return await stored

    def _queue(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        log_fields.begin()
        while batch := self._taken():
            items = [waiting.item for waiting in batch]
            try:
                results = await store_in_database(store, items)
            except Exception as exc:
                results = [_failed(item, exc) for item in items]
            for waiting, result in zip(batch, results, strict=True):
                self._take_up(waiting, result)

    def _take_up(self, waiting: _Waiting, result: Result) -> None:
        """Tell the result of an item, unless the item is still to be stored."""
        user_id = blocked_user(waiting.item, result)
        if isinstance(result, Contended):
            self._spawn(self._store_alone(waiting))
        elif user_id is None or waiting.is_swept:
            waiting.tell(result)
        else:
            self._sweep_for(user_id, waiting)

    def _taken(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        while self._waiting and len(taken) < BATCH:
            waiting = self._waiting.popleft()
            if not waiting.stored.done():  # else its caller has given up
                taken.append(waiting)
        return taken

    async def _store_alone(self, waiting: _Waiting) -> None:
        try:
            async with self._room:
                result = await in_database(store_alone, waiting.item)
        except Exception as exc:
            result = _failed(waiting.item, exc)
        waiting.tell(result)

    def _sweep_for(self, user_id: int, waiting: _Waiting) -> None:
        """Sweep a user's answers for a start; all that are blocked share one sweep."""
        if user_id in self._blocked:
            self._blocked[user_id].append(waiting)
        else:
            self._blocked[user_id] = [waiting]
            self._spawn(self._sweep(user_id))

    async def _sweep(self, user_id: int) -> None:
        failure: Exception | None = None
        try:
            async with self._room:
                await in_database(sweep, user_id)
        except Exception as exc:
            failure = exc
        for waiting in self._blocked.pop(user_id):
            waiting.is_swept = True
            if failure is None:
                # Even if nothing was swept: another process may have been quicker.
                self._queue(waiting)
            else:
                waiting.tell(_failed(waiting.item, failure))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)


def _failed(item: Item, exc: Exception) -> Exception:
    """Return the result of an item that was not stored."""
    is_away = isinstance(exc, (OperationalError, InterfaceError))
    return unstored(item, exc) if is_away else exc
