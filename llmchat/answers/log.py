"""An answer as its readers see it: the text so far, the readers, the one end.

The text only grows. A `LiveStream` is an answer that this process writes; a `Mirror`
follows an answer that another worker writes. Readers need not know which they read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from llmchat.answers.events import End, Failed, Started
from llmchat.errors import ChatError, refusal

logger = logging.getLogger(__name__)

# While the reader that sets the pace is further behind, the answer is read no further.
MAX_BEHIND_CHARS = 16 * 1024
MAX_READERS = 50


class Reader(Protocol):
    """A reader of an answer, at a position of its own in the log."""

    def start(self, started: Started) -> None:
        """Called when the answer begins, unless that was before the reader joined."""

    def more(self) -> None:
        """Called when `parts` has grown."""

    def end(self, event: End) -> None:
        """Called once, after the last part, or instead of `start`."""

    @property
    def behind(self) -> int:
        """Return how many characters of the text it has not taken.

        When the number becomes smaller, the reader calls `AnswerLog.look_again`.
        """

    @property
    def is_away(self) -> bool:
        """Return whether its client is away at the moment but may come back."""

    @property
    def worker(self) -> str | None:
        """Return the worker that it reads for, or None if that is this one."""


def _portions(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield texts in portions that are small compared with what may wait."""
    enough = MAX_BEHIND_CHARS // 8
    portion: list[str] = []
    chars = 0
    for text in texts:
        portion.append(text)
        chars += len(text)
        if chars >= enough:
            yield portion
            portion, chars = [], 0
    if portion:
        yield portion


def too_many_readers() -> ChatError:
    """Return the refusal of one more reader than `MAX_READERS`."""
    text = "Too many clients are reading this answer"
    return refusal("too_many_streams", text=text)


class AnswerLog:
    """One answer as its readers see it.

    `ended` is set once the end is stored and the name of the stream may be used again.
    `joined` is how many readers have ever joined.
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

    # For whatever writes or follows the answer.

    def tell_started(self, started: Started) -> None:
        """Notify the readers that the answer has begun."""
        self.started = started
        for reader in self._readers:
            try:
                reader.start(started)
            except Exception:
                self._drop(reader)

    def push(self, texts: Sequence[str]) -> None:
        """Add new pieces of text, none of them empty, and notify the readers."""
        self.parts += texts
        for text in texts:
            self.chars += len(text)
        for reader in self._readers:
            try:
                reader.more()
            except Exception:
                self._drop(reader)

    def portions(self, texts: Sequence[str]) -> Iterable[Sequence[str]]:
        """Return texts in portions; the caller checks after each if the stream lags.

        If all of them together cannot make it lag, they are one portion.
        """
        if self._behind + sum(map(len, texts)) <= MAX_BEHIND_CHARS:
            return (texts,)
        return _portions(texts)

    @property
    def lags(self) -> bool:
        """Return whether to pause reading the answer."""
        return self._behind > MAX_BEHIND_CHARS

    @property
    def _behind(self) -> int:
        """How far behind the reader that sets the pace is.

        That is the reader that joined first. If it lags and its client is away, it is
        the next one whose client is not.
        """
        readers = self._readers
        if not readers:
            return 0
        behind = readers[0].behind
        if behind <= MAX_BEHIND_CHARS:
            return behind
        return next((r for r in readers if not r.is_away), readers[0]).behind

    async def caught_up(self) -> None:
        """Wait for the reader that sets the pace to catch up."""
        while self.lags:
            self._change = asyncio.get_running_loop().create_future()
            await self._change

    def look_again(self) -> None:
        """Called when a reader caught up, joined or left, or its client did."""
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def close(self, event: End) -> None:
        """Notify the readers of the end."""
        self.end = event
        readers, self._readers = self._readers, ()
        for reader in readers:
            try:
                reader.end(event)
            except Exception:
                logger.exception("a reader of an answer failed at its end")

    def _drop(self, reader: Reader) -> None:
        """Remove a reader that has failed, and send its client an error."""
        logger.exception("a reader of an answer failed")
        # Not immediately: the answer's task must not cancel itself.
        asyncio.get_running_loop().call_soon(self.leave, reader)
        try:
            reader.end(Failed(self.session_id, refusal("internal_error")))
        except Exception:
            logger.exception("a failed reader of an answer could not be sent its error")

    # For everything else.

    def is_followed_by(self, worker: str) -> bool:
        """Return whether this other worker reads the answer."""
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
        """Remove a reader; abandon the answer if that was the last one."""
        if reader in self._readers:
            self._readers = tuple(r for r in self._readers if r is not reader)
            self.look_again()
            if not self._readers:
                self.abandon()

    def abandon(self) -> None:
        """Called when the last reader has left."""
        raise NotImplementedError

    async def stop(self) -> bool:
        """Cancel the answer for its user; return False if it is too late."""
        raise NotImplementedError

    def hurry_to_end(self) -> None:
        """Stop waiting for slow readers: a caller waits for the end, which is near."""

    async def reaches(self, chars: int) -> bool:
        """Return whether the text has this many characters; a mirror waits for them."""
        return chars <= self.chars
