"""The books of all running streams, written once a second in one transaction.

A token does not wait for it. It also stops what an operator has stopped or deleted,
on whichever worker.
"""

from __future__ import annotations

import asyncio
import logging

from django.db import DatabaseError, InterfaceError

from llmchat.answers.streams import LiveStream, Streams
from llmchat.books.checkpoint import checkpoint
from llmchat.books.turn import Progress
from llmchat.database import in_database

logger = logging.getLogger(__name__)

# With the time that writing takes, no text is older than a second before it is kept.
INTERVAL_S = 0.75


class Checkpoints:
    """One task, which ends when nothing streams."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._task: asyncio.Task[None] | None = None

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
        while self._streams.running():
            await asyncio.sleep(INTERVAL_S)
            try:
                await self.store()
            except (DatabaseError, InterfaceError) as exc:
                logger.warning("no checkpoint, the database does not answer: %s", exc)
            except Exception:
                # The next one stores what this one had.
                logger.exception("a checkpoint failed")

    async def store(self) -> None:
        """Store the texts of all running streams and renew their leases."""
        live: dict[object, tuple[LiveStream, Progress]] = {}
        for stream in self._streams.running():
            progress = stream.progress()
            if progress is not None:
                live[progress.message_id] = stream, progress
        if not live:
            return
        taken = await in_database(checkpoint, [item for _, item in live.values()])
        for message_id in taken.stored:
            stream, progress = live[message_id]
            stream.note_progress(progress)
        for message_id in taken.to_stop:
            live[message_id][0].cancel()
