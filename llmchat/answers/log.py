"""What everybody reads of an answer: its text so far, its readers, its one end.

Its text only grows. A `LiveStream` is the answer that this process writes, a `Mirror`
follows one that another worker writes; whoever reads need not know which.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

from llmchat.answers.events import End, Failed, Started
from llmchat.errors import refusal

logger = logging.getLogger(__name__)

# Beyond it the answer is read no further until the first reader has caught up.
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

    @property
    def worker(self) -> str | None:
        """Return the worker that it reads for, where that is another one."""


class AnswerLog:
    """One answer as its readers see it.

    `ended` is set once the end is stored, and its name may be used again. `joined` is
    how many readers it has had.
    """

    __slots__ = (
        "_change",
        "_readers",
        "cancelled",
        "chars",
        "end",
        "ended",
        "joined",
        "parts",
        "session_id",
        "started",
        "user_id",
    )

    def __init__(self, user_id: int, session_id: str) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self.parts: list[str] = []
        self.chars = 0
        self.started: Started | None = None
        self.cancelled = False
        self.end: End | None = None
        self.ended = asyncio.Event()
        self.joined = 0
        self._readers: tuple[Reader, ...] = ()
        self._change: asyncio.Future[None] | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.parts)

    # What whoever writes or follows it does.

    def tell_started(self, started: Started) -> None:
        """Tell the readers that it has begun."""
        self.started = started
        for reader in self._readers:
            try:
                reader.start(started)
            except Exception:
                self._drop(reader)

    def push(self, texts: Sequence[str]) -> None:
        """Add new pieces of text, which are none of them empty, and tell of them."""
        self.parts += texts
        for text in texts:
            self.chars += len(text)
        for reader in self._readers:
            try:
                reader.more()
            except Exception:
                self._drop(reader)

    def portions(self, texts: Sequence[str]) -> Iterable[Sequence[str]]:
        """Return what to append before one looks whether the stream lags.

        All at once is as good as one by one where none of it can make it lag.
        """
        if self._behind + sum(map(len, texts)) <= MAX_BEHIND_CHARS:
            return (texts,)
        return ((text,) for text in texts)

    @property
    def lags(self) -> bool:
        """Return whether the answer is to be read no further for now."""
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

    def is_followed_by(self, worker: str) -> bool:
        """Return whether another worker reads it."""
        return any(reader.worker == worker for reader in self._readers)

    @property
    def is_full(self) -> bool:
        """Return whether it takes no more readers."""
        return len(self._readers) >= MAX_READERS

    def join(self, reader: Reader) -> None:
        """Add a reader; the first one sets the pace."""
        self._readers += (reader,)
        self.joined += 1
        self.look_again()

    def leave(self, reader: Reader) -> None:
        """Take a reader out; what nobody reads is not gone on with."""
        if reader in self._readers:
            self._readers = tuple(r for r in self._readers if r is not reader)
            self.look_again()
            if not self._readers:
                self.abandon()

    def abandon(self) -> None:
        """Called when the last reader has left."""
        raise NotImplementedError

    async def stop(self) -> bool:
        """Cancel it, for its user; return False where it is too late."""
        raise NotImplementedError

    def hurry_to_end(self) -> None:
        """Wait for no reader any more: somebody waits for the end, which is near."""

    async def reaches(self, chars: int) -> bool:
        """Return whether there is so much text, once that is here."""
        return chars <= self.chars
