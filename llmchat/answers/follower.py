"""A reader that fetches: whoever follows an answer at a pace of their own."""

from __future__ import annotations

import asyncio

from llmchat.answers.events import End, Failed, Started
from llmchat.answers.log import MAX_BEHIND_CHARS, AnswerLog


class Follower:
    """Reads an answer from a character on; `at` is how many of them it has read.

    However the text came in pieces: its characters are the same on every worker.
    """

    __slots__ = ("_change", "_end", "_part", "_skip", "_stream", "at")

    def __init__(self, stream: AnswerLog, at: int = 0) -> None:
        self._stream = stream
        self._end = stream.end
        self._change: asyncio.Future[None] | None = None
        self.at = self._part = self._skip = 0
        self.seek(at)
        if self._end is None:
            stream.join(self)

    # For whoever follows.

    @property
    def session_id(self) -> str:
        """Return what the answer's client calls it."""
        return self._stream.session_id

    def seek(self, at: int) -> None:
        """Read on from that character, which is not beyond the text."""
        parts, left = self._stream.parts, at
        self.at, self._part = at, len(parts)
        for part, text in enumerate(parts):
            if left < len(text):
                self._part = part
                break
            left -= len(text)
        # What was read already of the next piece.
        self._skip = left

    async def started(self) -> Started:
        """Wait until the answer has begun.

        Raises: ChatError, where it is refused.
        """
        while self._stream.started is None:
            if isinstance(self._end, Failed):
                raise self._end.error
            await self._changed()
        return self._stream.started

    async def ready(self) -> None:
        """Wait until there is something to read, or nothing any more."""
        while self.at == self._stream.chars and self._end is None:
            await self._changed()

    async def read(self) -> list[str]:
        """Return the next pieces of text, merged where they are many; [] at the end."""
        await self.ready()
        stream = self._stream
        texts = stream.parts[self._part :]
        if self._skip:
            texts[0] = texts[0][self._skip :]
        if stream.chars - self.at > MAX_BEHIND_CHARS:
            texts = ["".join(texts)]
        self.at, self._part, self._skip = stream.chars, len(stream.parts), 0
        stream.look_again()
        return texts

    async def ended(self) -> End:
        """Wait for the end, reading past all that comes before it."""
        while self._end is None:
            await self.read()
        return self._end

    async def leave(self) -> None:
        """Read no more; wait for the end of an answer that is cancelled by that."""
        self._stream.leave(self)
        if self._end is None and self._stream.cancelled:
            await self._stream.ended.wait()

    async def _changed(self) -> None:
        self._change = asyncio.get_running_loop().create_future()
        await self._change

    # For the answer. See `Reader`.

    def start(self, started: Started) -> None:
        """Wake whoever follows."""
        _wake(self._change)

    def more(self) -> None:
        """Wake whoever follows."""
        _wake(self._change)

    def end(self, event: End) -> None:
        """Note the end, and wake whoever follows."""
        self._end = event
        _wake(self._change)

    @property
    def behind(self) -> int:
        """Return how many characters of the text it has not taken."""
        return self._stream.chars - self.at

    @property
    def worker(self) -> str | None:
        """Return that it reads here, for nobody else."""
        return None

    @property
    def is_away(self) -> bool:
        """Return False: whoever follows reads, or leaves."""
        return False


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
