"""The streams that run in this process, and how one is cancelled.

A stream is named by (user, session id). The task that consumes it waits either for
the provider, and is then woken by a cancellation, or for its own client, and then the
provider's connection is closed over its head. So a token passes through no queue and
no second task on its way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from datetime import datetime

from django.utils import timezone

from llmchat import conf
from llmchat.books.turn import Begun
from llmchat.errors import ChatError, refusal
from llmchat.providers.types import Event

logger = logging.getLogger(__name__)


class LiveStream:
    """One running stream: its text so far, and the handle to cancel it."""

    __slots__ = (
        "_closing",
        "_waiting",
        "begun",
        "cancelled",
        "ended",
        "ending",
        "events",
        "first_token_at",
        "interruption",
        "parts",
        "session_id",
        "user_id",
    )

    def __init__(self, user_id: int, session_id: str) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self.parts: list[str] = []
        self.first_token_at: datetime | None = None
        self.begun: Begun | None = None
        self.events: AsyncGenerator[Event, None] | None = None
        self.cancelled = False
        self.interruption: ChatError | None = None
        self.ending = False
        self.ended = asyncio.Event()
        self._waiting: asyncio.Task[object] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.parts)

    def add(self, text: str) -> None:
        """Note a new piece of text."""
        if not self.parts:
            self.first_token_at = timezone.now()
        self.parts.append(text)

    def cancel(self) -> bool:
        """Close the provider's connection; return False where it is too late."""
        if self.ending:
            return False
        if not self.cancelled:
            self.cancelled = True
            if self._waiting is not None:
                self._waiting.cancel()
            else:
                self._closing = asyncio.create_task(self._close_events())
        return True

    def interrupt(self, error: ChatError) -> None:
        """Cancel the stream for a reason of the server's, which its client is told."""
        if not self.cancelled and not self.ending:
            self.interruption = error
            self.cancel()

    def wait_begins(self) -> None:
        """Called before the consuming task waits for the provider."""
        self._waiting = asyncio.current_task()

    def wait_ends(self) -> None:
        """Called when the consuming task has what it waited for."""
        self._waiting = None

    def absorb_cancellation(self) -> bool:
        """Return whether the CancelledError just caught was `cancel`'s alone."""
        task, self._waiting = self._waiting, None
        if task is None or not self.cancelled:
            return False
        return task.uncancel() == 0

    async def close(self) -> None:
        """Close the provider's connection, unless `cancel` is at it already."""
        if self._closing is not None:
            await self._closing
        await self._close_events()

    async def _close_events(self) -> None:
        # A generator can be closed by one task at a time.
        events, self.events = self.events, None
        if events is None:
            return
        try:
            await events.aclose()
        except Exception:
            # The answer has its end all the same.
            logger.exception("a provider's stream did not close")


class Streams:
    """The streams of one process, by user and session id."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[int, str], LiveStream] = {}

    def register(self, user_id: int, session_id: str) -> LiveStream:
        """Reserve the name of a stream; `release` gives it back.

        Raises: ChatError `session_active`, `too_many_streams`.
        """
        if (user_id, session_id) in self._by_name:
            raise refusal("session_active")
        if len(self.of_user(user_id)) >= conf.get().max_streams_per_user:
            raise refusal("too_many_streams")
        stream = LiveStream(user_id, session_id)
        self._by_name[user_id, session_id] = stream
        return stream

    def release(self, stream: LiveStream) -> None:
        """Give the name of a stream back, once nothing more comes of it."""
        key = (stream.user_id, stream.session_id)
        if self._by_name.get(key) is stream:
            del self._by_name[key]
        stream.ended.set()

    def find(self, user_id: int, session_id: str) -> LiveStream | None:
        """Return the user's running stream of that name."""
        return self._by_name.get((user_id, session_id))

    def of_user(self, user_id: int) -> list[LiveStream]:
        """Return the running streams of a user."""
        return [stream for stream in self.running() if stream.user_id == user_id]

    def running(self) -> list[LiveStream]:
        """Return all streams that run in this process."""
        return list(self._by_name.values())
