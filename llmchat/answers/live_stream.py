"""A running answer, written by this process.

The task that asks the providers belongs to the answer. Everything else reads: the
socket that began it, sockets that attached, a REST client, the checkpoint, a mirror on
another worker. An answer is cancelled by cancelling its task while that is asking a
provider; storing the end cannot be cancelled. The reader that began the answer sets the
pace: while it lags, the provider is read no further. If its client is away, the next
reader whose client is there sets the pace. When its last reader leaves, the answer is
cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime

from django.utils import timezone

from llmchat.answers.events import End, Started
from llmchat.answers.log import AnswerLog
from llmchat.books.turn import Begun
from llmchat.errors import ChatError
from llmchat.overhead import Stopwatch, overhead


class LiveStream(AnswerLog):
    """One answer: its text so far, its readers, its one end.

    `key_id` is the API key that asked for it, None if an access token did. `call_chars`
    is the total length of the arguments of its tool calls. `first_token_s` is how long
    the first text took from the time the answer was asked for.
    """

    __slots__ = (
        "_asking",
        "_came_at",
        "_first_s",
        "_watch",
        "begun",
        "call_chars",
        "ended_at",
        "ending",
        "first_token_at",
        "first_token_s",
        "interruption",
        "key_id",
    )

    def __init__(
        self, user_id: int, session_id: str, key_id: int | None = None
    ) -> None:
        super().__init__(user_id, session_id)
        self.key_id = key_id
        self.call_chars = 0
        self.first_token_at: datetime | None = None
        self.first_token_s: float | None = None
        self._came_at = time.monotonic()
        self.begun: Begun | None = None
        self.interruption: ChatError | None = None
        self.ending = False
        self.ended_at = 0.0
        self._asking: asyncio.Task[object] | None = None
        self._first_s: float | None = None
        self._watch = Stopwatch()

    # For the answer's own task.

    def start(self, begun: Begun, started: Started) -> None:
        """Note that the turn is stored, and notify the readers."""
        self.begun = begun
        self.tell_started(started)

    def ask_begins(self) -> None:
        """Allow `cancel` to cancel this task from now on."""
        self._asking = asyncio.current_task()
        self._watch.stop()
        if self.cancelled:
            raise asyncio.CancelledError

    def ask_ends(self) -> None:
        """Protect this task from `cancel` from now on; undo a cancellation so far."""
        task, self._asking = self._asking, None
        self._watch.go_on()
        self.ending = True
        while task is not None and task.cancelling():
            task.uncancel()

    def append(self, texts: Sequence[str]) -> None:
        """Add new pieces of text, none of them empty, and notify the readers."""
        if self.parts:
            self.push(texts)
            return
        self._watch.go_on()
        self.first_token_at = timezone.now()
        self.first_token_s = time.monotonic() - self._came_at
        self.push(texts)
        self._watch.stop()
        self._first_s = self._watch.spent_s

    def close(self, event: End) -> None:
        """Notify the readers of the end."""
        super().close(event)
        self._note_overhead()

    def _note_overhead(self) -> None:
        """Count the time that the server added to an answer that has begun."""
        if self.begun is not None:
            self._watch.stop()
            overhead.note(first_s=self._first_s, whole_s=self._watch.spent_s)

    # For everything else.

    def abandon(self) -> None:
        """Called when the last reader has left: cancel, so that no more is billed."""
        self.cancel()

    async def stop(self) -> bool:
        """Cancel the answer for its user; return False if it is too late."""
        return self.cancel() or self.cancelled

    def cancel(self) -> bool:
        """Close the provider's connection; return False if it is too late."""
        if self.ending:
            return False
        if not self.cancelled:
            self.cancelled = True
            if self._asking is not None:
                self._asking.cancel()
        return True

    def interrupt(self, error: ChatError) -> None:
        """Cancel the stream for a reason of the server, which is sent to its client."""
        if not self.cancelled and not self.ending:
            self.interruption = error
            self.cancel()
