"""The one writer of a process, which puts everything that waits in one transaction.

A single turn is stored immediately; what arrives while a batch is being stored forms
the next batch. An item that needs a row held by another transaction waits for it in a
thread of its own, so that the others need not wait.
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
    KeyRefusal,
    Outcome,
    Progress,
    Turn,
)
from llmchat.database import QUEUE_S, THREADS, in_database
from llmchat.errors import unavailable

# How many items one transaction stores at most, and how many may wait for it before new
# turns are refused.
BATCH = 100
MAX_WAITING = 2000


@dataclass(slots=True)
class _Waiting:
    item: Item
    stored: asyncio.Future[Any]

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
        # One thread is kept free for the batches.
        self._room = asyncio.Semaphore(THREADS - 1)

    async def begin(self, user_id: int, turn: Turn, key_id: int | None = None) -> Begun:
        """Store the user's message and the answer to come.

        Raises: ChatError; StartUnknownError, if they may be stored all the same.
        """
        if self._is_full:
            raise unavailable()
        begun: Begun = await self._stored(start_of(user_id, turn, key_id))
        return begun

    async def end(self, begun: Begun, outcome: Outcome, again: bool = False) -> Outcome:
        """Store how an answer ended, at least with its text; return what is stored.

        It is accepted however many items wait: an end refused here would be kept in
        memory elsewhere.

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

    async def refuse(self, refusal: KeyRefusal) -> None:
        """Store that a provider refused a key, before any turn that arrives later.

        Raises: OperationalError, InterfaceError: the database does not answer.
        """
        await self._stored(refusal)

    async def close(self) -> None:
        """Wait for what is being stored, at most as long as a call can take."""
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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)


def _failed(item: Item, exc: Exception) -> Exception:
    """Return the result of an item that was not stored."""
    is_away = isinstance(exc, (OperationalError, InterfaceError))
    return unstored(item, exc) if is_away else exc
