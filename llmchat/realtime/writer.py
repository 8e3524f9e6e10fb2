"""The one place that writes to a WebSocket.

Each WebSocket has its own writer, although a session seldom has more than one of
them. To write is to wait: a client that does not read makes a `send` last for as long
as the server below allows. During an upgrade, or after a failed one, a session may
have two or three WebSockets in different states. If one task wrote to all of them, a
`send` that hangs on the old one would delay the new one, and an error would have to be
traced back to the WebSocket that it came from. So a writer takes what is to be written
only when it can write it, owns the WebSocket until the end, and reports its own loss.

A writer has a task of its own only while it may have to wait: texts that the server
below takes immediately are written right where they arise, many in one write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from .transports import WebSocket

logger = logging.getLogger(__name__)

# How long a WebSocket may take to send what was queued before its close.
CLOSE_TIMEOUT_S = 5.0
# After this much, check again whether the server below takes more.
MAX_CHARS_AT_ONCE = 16 * 1024


@dataclass(frozen=True, slots=True)
class Close:
    """What follows the last frame."""

    code: int


class Writer:
    """Owns one WebSocket: writes frames in order, closes it, reports its end.

    `take` returns the next frame, a `Close` after the last one, or None if none is
    ready. `ended` is called once, unless the owner ended it by `abandon` or `drop`.
    """

    __slots__ = ("_ended", "_take", "_task", "_timer", "websocket")

    def __init__(
        self,
        websocket: WebSocket,
        take: Callable[[Writer], str | bytes | Close | None],
        ended: Callable[[Writer], None],
    ) -> None:
        self.websocket = websocket
        self._take = take
        self._ended = ended
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_writing(self) -> bool:
        """Return whether a frame is on its way to the server below."""
        return self._task is not None

    def takes_texts(self) -> bool:
        """Return whether text frames can be written to the WebSocket immediately."""
        is_idle = self._task is None and self._timer is None
        return is_idle and self.websocket.takes_texts()

    def wake(self) -> None:
        """Write what is ready, unless that is being done already."""
        if self._task is not None:
            return
        step: str | bytes | Close | None = None
        more = True
        # A task would be needless cost while nothing makes it wait.
        while more and self.websocket.takes_texts():
            frames, step, more = self._take_texts()
            if frames:
                self.websocket.write_texts(frames)
        if more:
            step = self._take(self)
        if step is not None:
            self._task = asyncio.get_running_loop().create_task(self._write(step))

    def _take_texts(self) -> tuple[list[str], bytes | Close | None, bool]:
        """Return text frames, what follows them, and whether more may follow."""
        frames: list[str] = []
        size = 0
        while size < MAX_CHARS_AT_ONCE:
            step = self._take(self)
            if not isinstance(step, str):
                return frames, step, False
            frames.append(step)
            size += len(step)
        return frames, None, True

    def finish(self) -> None:
        """Write the rest and close; drop a WebSocket that takes too long for that."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(CLOSE_TIMEOUT_S, self._on_timeout)
        self.wake()

    def abandon(self) -> None:
        """Stop: the connection was lost."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def drop(self) -> None:
        """Stop, and drop the connection with all that waits for it."""
        self.abandon()
        self.websocket.abort()

    def _on_timeout(self) -> None:
        self.drop()
        self._ended(self)

    async def _write(self, step: str | bytes | Close | None) -> None:
        try:
            while step is not None:
                if isinstance(step, Close):
                    await self.websocket.close(step.code)
                    break
                await self.websocket.send_frame(step)
                step = self._take(self)
            else:
                # Nothing can become ready between `_take` and here: no `await`.
                self._task = None
                return
        except OSError:
            logger.debug("A WebSocket was lost while it was written to")
        except Exception:
            logger.exception("Writing to a WebSocket failed")
        if self._timer is not None:
            self._timer.cancel()
        self._ended(self)
