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
    comes back by yet another, and no later than the recovery window allows. Those who
    read the answer already are others, who may leave it meanwhile; but the readers of
    one worker all read by one mirror.
    """

    __slots__ = ("_joined", "_loop", "_stream", "_until", "_worker")

    def __init__(self, stream: AnswerLog, worker: str) -> None:
        """`worker`: where its socket goes."""
        stream.join(self)
        self._stream = stream
        self._worker = worker
        self._joined = stream.joined
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + conf.get().recovery_window_s
        self._loop.call_later(KEEP_S, self._look)

    def _look(self) -> None:
        """Leave, where somebody has come since, or nobody will."""
        stream = self._stream
        if stream.end is not None:
            return
        has_come = stream.joined != self._joined
        is_read = has_come or stream.is_followed_by(self._worker)
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
    def worker(self) -> str | None:
        """Return that it reads here, for nobody else."""
        return None

    @property
    def is_away(self) -> bool:
        """Return that somebody else may set the pace."""
        return True
