"""The books of all running streams, written once a second in one transaction.

One task for each process, which ends when nothing streams. A token does not wait for
it. It also stops what an operator has stopped or deleted, on whichever worker, and
writes the ends that the database would not take at the time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from django.db import DatabaseError, InterfaceError, OperationalError

from llmchat.answers import streams
from llmchat.books import turns
from llmchat.database import in_database

logger = logging.getLogger(__name__)

# With the time that writing takes, no text is older than a second before it is kept.
INTERVAL_S = 0.75
# Ends that wait for the database; beyond it the oldest is given up, and its row
# becomes `interrupted` with the text of its last checkpoint.
_MAX_UNSAVED = 1000

_unsaved: deque[tuple[turns.Begun, turns.Ending]] = deque(maxlen=_MAX_UNSAVED)
_task: asyncio.Task[None] | None = None


def ensure_running() -> None:
    """Called when a stream has begun."""
    global _task
    loop = asyncio.get_running_loop()
    if _task is None or _task.done() or _task.get_loop() is not loop:
        _task = loop.create_task(_keep_books())


def save_later(begun: turns.Begun, ending: turns.Ending) -> None:
    """Take an end that could not be stored."""
    _unsaved.append((begun, ending))
    ensure_running()


def owes(user_id: int) -> bool:
    """Return whether an end of the user's still waits for the database."""
    return any(begun.user_id == user_id for begun, _ in _unsaved)


async def stop() -> None:
    """End the task, if it runs in this event loop."""
    global _task
    task, _task = _task, None
    if task is not None and task.get_loop() is asyncio.get_running_loop():
        task.cancel()
        await asyncio.wait([task])


async def _keep_books() -> None:
    while streams.running() or _unsaved:
        await asyncio.sleep(INTERVAL_S)
        try:
            await _save_ends()
            await checkpoint()
        except (DatabaseError, InterfaceError) as exc:
            logger.warning("no checkpoint, the database does not answer: %s", exc)


async def _save_ends() -> None:
    while _unsaved:
        end = _unsaved[0]
        try:
            await in_database(turns.end_turn, *end)
        except (OperationalError, InterfaceError):
            raise  # again at the next tick
        except Exception:
            logger.exception("an end cannot be stored")
        # A full queue may have given it up meanwhile.
        if _unsaved and _unsaved[0] is end:
            _unsaved.popleft()


async def checkpoint() -> None:
    """Store the texts of all running streams and renew their leases."""
    live = {}
    for stream in streams.running():
        progress = stream.progress()
        if progress is not None:
            live[progress.message_id] = stream, progress
    if not live:
        return
    stopped = await in_database(
        turns.checkpoint, [progress for _, progress in live.values()]
    )
    for stream, progress in live.values():
        stream.note_progress(progress)
    for message_id in stopped:
        live[message_id][0].cancel()
