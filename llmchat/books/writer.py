"""The one writer of a process: it takes all that waits into one transaction.

A lone turn is stored at once; what comes while a batch is being stored is the next
batch. Who needs a row that somebody else holds waits for it in a thread of his own, so
that the others do not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import InterfaceError, OperationalError

from llmchat import log_fields
from llmchat.books.batch import Contended, Item, Result, store, store_alone, unstored
from llmchat.books.checkpoint import Checkpointed
from llmchat.books.conversations import start_of
from llmchat.books.turn import (
    Begun,
    Checkpoint,
    End,
    Outcome,
    Progress,
    Refusal,
    Turn,
)
from llmchat.database import QUEUE_S, THREADS, in_database
from llmchat.errors import unavailable

# So many are stored in one transaction; where so many wait for it, no turn begins.
BATCH = 100
MAX_WAITING = 2000


@dataclass(slots=True)
class _Waiting:
    item: Item
    stored: asyncio.Future[Any]

    def tell(self, result: Result) -> None:
        """Say what came of it to whoever still waits."""
        if self.stored.done():
            return
        if isinstance(result, Exception):
            self.stored.set_exception(result)
        else:
            self.stored.set_result(result)


class Books:
    """The queue of what is to be stored, and its writer, which ends with it."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._alone: set[asyncio.Task[None]] = set()
        # A thread is left for the batches.
        self._room = asyncio.Semaphore(THREADS - 1)

    async def begin(self, user_id: int, turn: Turn, key_id: int | None = None) -> Begun:
        """Store the user's message and the answer to come.

        Raises: ChatError; StartUnknownError, where it may be stored all the same.
        """
        if self._is_full:
            raise unavailable()
        begun: Begun = await self._stored(start_of(user_id, turn, key_id))
        return begun

    async def end(self, begun: Begun, outcome: Outcome, again: bool = False) -> Outcome:
        """Store what became of an answer, at least its text; return what is stored.

        However many wait: what is not taken here would be kept in memory elsewhere.

        Raises: OperationalError, InterfaceError: the database does not answer.
        """
        stored: Outcome = await self._stored(End(begun, outcome, again))
        return stored

    async def checkpoint(self, progress: Sequence[Progress]) -> Checkpointed:
        """Store new text of the running answers; return which are to be stopped.

        Raises: OperationalError, InterfaceError: the database does not answer.
        """
        taken: Checkpointed = await self._stored(Checkpoint(tuple(progress)))
        return taken

    async def refuse(self, refusal: Refusal) -> None:
        """Store that a provider has refused a key, before any turn that comes later.

        Raises: OperationalError, InterfaceError: the database does not answer.
        """
        await self._stored(refusal)

    async def close(self) -> None:
        """Wait for what is being stored, as long as a call may take."""
        tasks = [*self._alone, *filter(None, [self._writer])]
        if tasks:
            await asyncio.wait(tasks, timeout=QUEUE_S)

    @property
    def _is_full(self) -> bool:
        return len(self._waiting) + len(self._alone) >= MAX_WAITING

    async def _stored(self, item: Item) -> Any:
        stored: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, stored))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await stored

    async def _write(self) -> None:
        log_fields.begin()
        while batch := self._taken():
            items = [waiting.item for waiting in batch]
            try:
                results = await in_database(store, items)
            except Exception as exc:
                results = [_failed(item, exc) for item in items]
            for waiting, result in zip(batch, results, strict=True):
                if isinstance(result, Contended):
                    self._spawn(self._store_alone(waiting))
                else:
                    waiting.tell(result)

    def _taken(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        while self._waiting and len(taken) < BATCH:
            waiting = self._waiting.popleft()
            if not waiting.stored.done():  # nobody waits for what was given up
                taken.append(waiting)
        return taken

    async def _store_alone(self, waiting: _Waiting) -> None:
        try:
            async with self._room:
                result = await in_database(store_alone, waiting.item)
        except Exception as exc:
            result = _failed(waiting.item, exc)
        waiting.tell(result)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)


def _failed(item: Item, exc: Exception) -> Exception:
    """Return what came of an item that is not stored."""
    is_away = isinstance(exc, (OperationalError, InterfaceError))
    return unstored(item, exc) if is_away else exc
