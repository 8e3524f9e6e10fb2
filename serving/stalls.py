"""Dropping connections whose client reads nothing, or whose protocol raises.

uvicorn waits forever for a client that does not read its response. An attacker can open
such connections at no cost.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager

from llmchat import conf

logger = logging.getLogger(__name__)

# `SendLimit` ends a stream in an orderly way, so it is given the first chance.
_MARGIN_S = 5.0


class StallLimit:
    """Drop a connection whose client does not read what is buffered for it."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    _stall: asyncio.TimerHandle | None = None
    _has_let_go = False

    def pause_writing(self) -> None:
        """Start the stall timer; called when the write buffer is full."""
        super().pause_writing()  # type: ignore[misc]
        self.watch_buffer()

    def resume_writing(self) -> None:
        """Stop the stall timer; called when the write buffer is nearly empty."""
        super().resume_writing()  # type: ignore[misc]
        self._stop_watching()
        self.watch_end()

    def eof_received(self) -> None:
        """Called when the client will send no more; the connection then closes."""
        super().eof_received()  # type: ignore[misc]
        self.watch_buffer()

    def shutdown(self) -> None:
        """Close the connection; called when the server stops.

        Nothing is raised: an exception would keep the other connections from being
        closed, and the application from being notified.
        """
        if self.transport.is_closing():
            return
        try:
            super().shutdown()  # type: ignore[misc]
        except Exception:
            logger.exception("a connection could not be closed cleanly")
            self.transport.abort()
        self.watch_end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection has ended."""
        self.let_go()
        super().connection_lost(exc)  # type: ignore[misc]

    def let_go(self) -> None:
        """Stop watching: the connection has ended, or belongs to another protocol."""
        self._has_let_go = True
        self._stop_watching()

    def watch_end(self) -> None:
        """Start the stall timer if the connection is closing.

        It closes only when the client has read all that is left, however little that
        is.
        """
        if self._stall is None and self.transport.is_closing():
            self.watch_buffer()

    def watch_buffer(self) -> None:
        """Start the stall timer: the client must read some of its buffer in time."""
        self._stop_watching()
        if self._has_let_go:
            return
        size = _unread(self.transport)
        limit_s = conf.get().idle_timeout_s + _MARGIN_S
        self._stall = self.loop.call_later(limit_s, self._on_stall, size)

    def _stop_watching(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _on_stall(self, size: int) -> None:
        if _unread(self.transport) < size:
            self.watch_buffer()  # slow, but it reads
        else:
            self.transport.abort()


def _unread(transport: asyncio.Transport) -> int:
    """Return the number of bytes that the client has not received.

    The operating system buffers megabytes of them, and accepts more only when a third
    of its buffer is free again, which can take a slow client minutes. So its buffer
    must be counted, too.
    """
    buffered = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    try:
        held = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except (AttributeError, OSError, ValueError):  # closed, or not supported here
        return buffered
    return buffered + int(struct.unpack("i", held)[0])


@contextmanager
def aborted_by_errors(transport: asyncio.Transport) -> Iterator[None]:
    """Drop a connection whose protocol raises, as the event loop would."""
    try:
        yield
    except BaseException:
        transport.abort()
        raise
