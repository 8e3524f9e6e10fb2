"""The checkpoints of all running streams, about once a second, in one transaction.

Tokens do not wait for a checkpoint. It also stops the answers that an operator has
stopped or deleted on any worker.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from llmchat import log_fields
from llmchat.answers.live_stream import LiveStream
from llmchat.answers.streams import Streams
from llmchat.books.turn import Progress
from llmchat.books.writer import Books

logger = logging.getLogger(__name__)

# Together with the time that writing takes, text is stored within a second.
INTERVAL_S = 0.75


@dataclass(frozen=True, slots=True)
class _Position:
    """How much of an answer is stored."""

    parts: int = 0
    chars: int = 0


class Checkpoints:
    """One task that stores the new text of all streams; it ends when none runs."""

    def __init__(self, streams: Streams, books: Books) -> None:
        self._streams = streams
        self._books = books
        self._positions: dict[UUID, _Position] = {}
        self._task: asyncio.Task[None] | None = None
        # One checkpoint must not overtake another.
        self._storing = asyncio.Lock()

    def ensure_running(self) -> None:
        """Called when a stream has begun."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep_books())

    async def close(self) -> None:
        """End the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _keep_books(self) -> None:
        log_fields.begin()  # it serves all streams, not only the one that began it
        while self._streams.running():
            await asyncio.sleep(INTERVAL_S)
            try:
                await self.store()
            except (DatabaseError, InterfaceError) as exc:
                logger.warning(
                    "no checkpoint stored, the database does not answer: %s", exc
                )
            except Exception:
                # The next checkpoint stores what this one should have.
                logger.exception("a checkpoint failed")

    async def store(self) -> None:
        """Store what is new in all running streams, and renew the lease."""
        async with self._storing:
            await self._store()

    async def _store(self) -> None:
        live = {
            stream.begun.message_id: stream
            for stream in self._streams.running()
            if stream.begun is not None and not stream.ending
        }
        known = self._positions
        self._positions = {ident: known.get(ident, _Position()) for ident in live}
        if not live:
            return
        ends = {ident: len(stream.parts) for ident, stream in live.items()}
        progress = [self._progress(ident, live[ident]) for ident in live]
        taken = await self._books.checkpoint(progress)
        for item in progress:
            chars = item.start + len(item.text)
            self._positions[item.message_id] = _Position(ends[item.message_id], chars)
        for ident in taken.to_stop:
            live[ident].cancel()

    def _progress(self, ident: UUID, stream: LiveStream) -> Progress:
        at = self._positions[ident]
        text = "".join(stream.parts[at.parts :])
        return Progress(ident, at.chars, text, stream.first_token_at)
