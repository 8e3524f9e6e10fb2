"""A reader that reads nothing: it keeps an answer going for a client on its way."""

from __future__ import annotations

import asyncio

from llmchat import conf
from llmchat.answers.events import End, Started
from llmchat.answers.log import AnswerLog

# How often to check whether the socket follows the answer from its new worker.
CHECK_S = 5.0


class PlaceholderReader:
    """Keeps an answer going until the client that moves away reads it again.

    The worker that its socket moves to may stop before it follows the answer. The
    client then comes back through yet another worker, at the latest within the recovery
    window. Readers that the answer had before do not count, because they may leave in
    the meantime. The exception is a mirror of the worker that the socket moves to: all
    readers of a worker share one mirror, so the client then joins that.
    """

    __slots__ = ("_joined", "_loop", "_stream", "_until", "_worker")

    def __init__(self, stream: AnswerLog, worker: str) -> None:
        """`worker` is the worker that the socket moves to."""
        stream.join(self)
        self._stream = stream
        self._worker = worker
        self._joined = stream.joined
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + conf.get().recovery_window_s
        self._loop.call_later(CHECK_S, self._look)

    def _look(self) -> None:
        """Leave if a reader has come since, or none will come any more."""
        stream = self._stream
        if stream.end is not None:
            return
        has_come = stream.joined != self._joined
        is_read = has_come or stream.is_followed_by(self._worker)
        if is_read or self._loop.time() >= self._until:
            stream.leave(self)
        else:
            self._loop.call_later(CHECK_S, self._look)

    def start(self, started: Started) -> None:
        """Ignore the start."""

    def more(self) -> None:
        """Ignore new text."""

    def end(self, event: End) -> None:
        """Ignore the end."""

    @property
    def behind(self) -> int:
        """Return 0: it holds nothing up."""
        return 0

    @property
    def worker(self) -> str | None:
        """Return None: it reads for no other worker."""
        return None

    @property
    def is_away(self) -> bool:
        """Return True: another reader can set the pace."""
        return True
