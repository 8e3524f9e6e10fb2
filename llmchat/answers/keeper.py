"""A reader that reads nothing: it keeps an answer for somebody who is on the way."""

from __future__ import annotations

import asyncio

from llmchat import conf
from llmchat.answers.events import End, Started
from llmchat.answers.log import AnswerLog

# How soon a socket that moves to another worker follows the answer from there.
KEEP_S = 5.0


class Keeper:
    """Keeps an answer going, though nobody may read it, until somebody has come.

    The worker that its socket has moved to may end before it follows. Then the client
    comes back by yet another, and no later than the recovery window allows.
    """

    __slots__ = ("_joined", "_loop", "_stream", "_until")

    def __init__(self, stream: AnswerLog) -> None:
        stream.join(self)
        self._stream = stream
        self._joined = stream.joined
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + conf.get().recovery_window_s
        self._loop.call_later(KEEP_S, self._look)

    def _look(self) -> None:
        """Leave, where somebody has come since, or nobody will."""
        stream = self._stream
        if stream.end is not None:
            return
        is_read = stream.reads > 1 or stream.joined != self._joined
        if is_read or self._loop.time() >= self._until:
            stream.leave(self)
        else:
            self._loop.call_later(KEEP_S, self._look)

    def start(self, started: Started) -> None:
        """Pass over the start."""

    def more(self) -> None:
        """Pass over new text."""

    def end(self, event: End) -> None:
        """Pass over the end."""

    @property
    def behind(self) -> int:
        """Return that it holds nobody up."""
        return 0

    @property
    def is_away(self) -> bool:
        """Return that somebody else may set the pace."""
        return True
