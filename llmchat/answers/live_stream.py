"""A running answer is a log: its text only grows, and it gets one end.

The task that asks the providers belongs to the answer. Everybody else reads: the
socket that began it, those that attached, a REST client, the checkpoint. To cancel an
answer is to cancel its task while that asks; what stores the end cannot be cancelled.
The reader that began it sets the pace: while that lags, the provider is read no
further. Where its client is away, the next one does that is there. An answer that its
last reader has left is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from django.utils import timezone

from llmchat.answers.events import End, Failed, Started
from llmchat.books.turn import Begun
from llmchat.errors import ChatError, refusal
from llmchat.overhead import Stopwatch, overhead

logger = logging.getLogger(__name__)

# Beyond it the provider is read no further until the first reader has caught up.
MAX_BEHIND_CHARS = 16 * 1024
MAX_READERS = 50


class Reader(Protocol):
    """Whoever follows an answer, from a position of its own in the log."""

    def start(self, started: Started) -> None:
        """Called when the answer has begun, unless it had before."""

    def more(self) -> None:
        """Called when `parts` has grown."""

    def end(self, event: End) -> None:
        """Called once, behind the last part; or instead of `start`."""

    @property
    def behind(self) -> int:
        """Return how many characters of the text it has not taken.

        `LiveStream.look_again` is to be called when they become fewer.
        """

    @property
    def is_away(self) -> bool:
        """Return whether nobody reads just now, but may come back."""


class LiveStream:
    """One answer: its text so far, its readers, its one end.

    `key_id` is the API key that asked for it, None where an access token did.
    `call_chars` is how large the arguments are of the tools that it calls.
    `first_token_s` is how long its first text has taken since it was asked for.
    `ended` is set once the end is stored, and its name may be used again.
    """

    __slots__ = (
        "_asking",
        "_came_at",
        "_change",
        "_first_s",
        "_readers",
        "_watch",
        "begun",
        "call_chars",
        "cancelled",
        "chars",
        "end",
        "ended",
        "ended_at",
        "ending",
        "first_token_at",
        "first_token_s",
        "interruption",
        "key_id",
        "parts",
        "session_id",
        "started",
        "user_id",
    )

    def __init__(
        self, user_id: int, session_id: str, key_id: int | None = None
    ) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self.key_id = key_id
        self.parts: list[str] = []
        self.chars = 0
        self.call_chars = 0
        self.first_token_at: datetime | None = None
        self.first_token_s: float | None = None
        self._came_at = time.monotonic()
        self.begun: Begun | None = None
        self.started: Started | None = None
        self.cancelled = False
        self.interruption: ChatError | None = None
        self.ending = False
        self.end: End | None = None
        self.ended = asyncio.Event()
        self.ended_at = 0.0
        self._asking: asyncio.Task[object] | None = None
        self._readers: tuple[Reader, ...] = ()
        self._change: asyncio.Future[None] | None = None
        self._first_s: float | None = None
        self._watch = Stopwatch()

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.parts)

    # What the answer's own task does.

    def start(self, begun: Begun, started: Started) -> None:
        """Note that the turn is stored."""
        self.begun, self.started = begun, started
        for reader in self._readers:
            try:
                reader.start(started)
            except Exception:
                self._drop(reader)

    def ask_begins(self) -> None:
        """Let `cancel` cancel this task from now on."""
        self._asking = asyncio.current_task()
        self._watch.stop()
        if self.cancelled:
            raise asyncio.CancelledError

    def ask_ends(self) -> None:
        """Let nothing cancel this task any more, and forget that something did."""
        task, self._asking = self._asking, None
        self._watch.go_on()
        self.ending = True
        while task is not None and task.cancelling():
            task.uncancel()

    def append(self, texts: Sequence[str]) -> None:
        """Add new pieces of text, which are none of them empty, and push them."""
        is_first = not self.parts
        if is_first:
            self._watch.go_on()
            self.first_token_at = timezone.now()
            self.first_token_s = time.monotonic() - self._came_at
        self.parts += texts
        for text in texts:
            self.chars += len(text)
        for reader in self._readers:
            try:
                reader.more()
            except Exception:
                self._drop(reader)
        if is_first:
            self._watch.stop()
            self._first_s = self._watch.spent_s

    def portions(self, texts: Sequence[str]) -> Iterable[Sequence[str]]:
        """Return what to append before one looks whether the stream lags.

        All at once is as good as one by one where none of it can make it lag.
        """
        if self._behind + sum(map(len, texts)) <= MAX_BEHIND_CHARS:
            return (texts,)
        return ((text,) for text in texts)

    @property
    def lags(self) -> bool:
        """Return whether the provider is to be read no further for now."""
        return self._behind > MAX_BEHIND_CHARS

    @property
    def _behind(self) -> int:
        """How far the reader that sets the pace is behind: it has read longest."""
        readers = self._readers
        if not readers:
            return 0
        behind = readers[0].behind
        if behind <= MAX_BEHIND_CHARS:
            return behind
        return next((r for r in readers if not r.is_away), readers[0]).behind

    async def caught_up(self) -> None:
        """Wait for the reader that sets the pace."""
        while self.lags:
            self._change = asyncio.get_running_loop().create_future()
            await self._change

    def look_again(self) -> None:
        """Called when a reader has caught up, came or left, or its client did."""
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def close(self, event: End) -> None:
        """Tell the readers of the end."""
        self.end = event
        readers, self._readers = self._readers, ()
        for reader in readers:
            try:
                reader.end(event)
            except Exception:
                logger.exception("a reader of an answer broke at its end")
        self._note_overhead()

    def _note_overhead(self) -> None:
        """Count what the server has added to an answer that has begun."""
        if self.begun is not None:
            self._watch.stop()
            overhead.note(first_s=self._first_s, whole_s=self._watch.spent_s)

    def _drop(self, reader: Reader) -> None:
        """Let go of a reader that has failed, with a word to its client."""
        logger.exception("a reader of an answer broke")
        # Not at once: the answer's task does not cancel itself.
        asyncio.get_running_loop().call_soon(self.leave, reader)
        try:
            reader.end(Failed(self.session_id, refusal("internal_error")))
        except Exception:
            logger.exception("a reader of an answer was not told that it broke")

    # What everybody else does.

    @property
    def is_full(self) -> bool:
        """Return whether it takes no more readers."""
        return len(self._readers) >= MAX_READERS

    def join(self, reader: Reader) -> None:
        """Add a reader; the first one sets the pace."""
        self._readers += (reader,)
        self.look_again()

    def leave(self, reader: Reader) -> None:
        """Take a reader out; without any the answer is cancelled."""
        if reader in self._readers:
            self._readers = tuple(r for r in self._readers if r is not reader)
            self.look_again()
            if not self._readers:
                self.cancel()

    def cancel(self) -> bool:
        """Close the provider's connection; return False where it is too late."""
        if self.ending:
            return False
        if not self.cancelled:
            self.cancelled = True
            if self._asking is not None:
                self._asking.cancel()
        return True

    def interrupt(self, error: ChatError) -> None:
        """Cancel the stream for a reason of the server's, which its client is told."""
        if not self.cancelled and not self.ending:
            self.interruption = error
            self.cancel()
