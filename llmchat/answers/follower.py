"""A reader that fetches the text of an answer at its own pace."""

from __future__ import annotations

import asyncio
from uuid import UUID

from llmchat.answers.events import End, Failed, Started
from llmchat.answers.log import MAX_BEHIND_CHARS, AnswerLog
from llmchat.errors import ChatError


class Follower:
    """Reads an answer from a character on; `at` is how many characters it has read.

    Positions are in characters, not pieces: pieces differ between workers, and
    characters do not.
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

    # For the code that follows the answer.

    @property
    def session_id(self) -> str:
        """Return the session id that the client gave the answer."""
        return self._stream.session_id

    def seek(self, at: int) -> None:
        """Continue reading at character `at`, which is not beyond the text."""
        parts, left = self._stream.parts, at
        self.at, self._part = at, len(parts)
        for part, text in enumerate(parts):
            if left < len(text):
                self._part = part
                break
            left -= len(text)
        # How much of the next piece has been read already.
        self._skip = left

    async def started(self) -> Started:
        """Wait until the answer has begun.

        Raises: ChatError: the turn is refused.
        """
        while self._stream.started is None:
            if isinstance(self._end, Failed):
                raise self._end.error
            await self._changed()
        return self._stream.started

    async def ready(self) -> None:
        """Wait until there is something to read or the answer has ended."""
        while self.at == self._stream.chars and self._end is None:
            await self._changed()

    async def read(self) -> list[str]:
        """Return the next pieces of text, merged if they are many; [] at the end."""
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
        """Wait for the end, skipping all text before it."""
        while self._end is None:
            await self.read()
        return self._end

    async def leave(self) -> None:
        """Stop reading; if that cancels the answer, wait for its end."""
        self._stream.leave(self)
        if self._end is None and self._stream.cancelled:
            await self._stream.ended.wait()

    async def _changed(self) -> None:
        self._change = asyncio.get_running_loop().create_future()
        await self._change

    # For the answer. See `Reader`.

    def start(self, started: Started) -> None:
        """Wake the code that waits."""
        _wake(self._change)

    def more(self) -> None:
        """Wake the code that waits."""
        _wake(self._change)

    def end(self, event: End) -> None:
        """Note the end, and wake the code that waits."""
        self._end = event
        _wake(self._change)

    @property
    def behind(self) -> int:
        """Return how many characters of the text it has not taken."""
        return self._stream.chars - self.at

    @property
    def worker(self) -> str | None:
        """Return None: it reads for no other worker."""
        return None

    @property
    def is_away(self) -> bool:
        """Return False: a follower either reads or leaves."""
        return False


async def is_begun(stream: AnswerLog, message_id: UUID) -> bool:
    """Wait until an answer has begun, or is refused; return whether it is this one.

    The caller may be its only reader by then, and must join it without waiting.
    """
    started = stream.started
    if started is None:
        follower = Follower(stream)
        try:
            started = await follower.started()
        except ChatError:
            return False
        finally:
            # Later, since an answer that loses its last reader is cancelled.
            asyncio.get_running_loop().call_soon(stream.leave, follower)
    return started.message_id == message_id


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
