"""uvicorn's protocols, with limits on idle and stalled connections.

uvicorn waits for ever for a request that does not arrive, and for a client that does
not read its response. An attacker can open such connections for free.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import (
    WebSocketsSansIOProtocol,
)

from llmchat import conf
from llmchat.realtime.turns import turns

logger = logging.getLogger("uvicorn.error")

# `SendLimit` ends a stream in order, so it gets the first chance.
_MARGIN_S = 5.0
_RETRY_S = 5
# Frames are parsed in pieces of so many bytes, and so long in one turn.
# Those that come first wait for no turn: there may be many connections.
_PIECE_BYTES = 512
_SLICE_S = 0.001
_AT_ONCE_S = 0.0002
_BUSY = json.dumps(
    {
        "error": "The server has too many connections, try again in a moment",
        "code": "server_busy",
        "retryAfter": _RETRY_S,
    }
).encode()


class _StallLimit:
    """Drop a connection whose client does not read what is buffered for it."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    _stall: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Start the stall timer; called when the write buffer is full."""
        super().pause_writing()  # type: ignore[misc]
        self._watch_buffer()

    def resume_writing(self) -> None:
        """Stop the stall timer; called when the write buffer is nearly empty."""
        super().resume_writing()  # type: ignore[misc]
        self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection has ended."""
        self._stop_watching()
        super().connection_lost(exc)  # type: ignore[misc]

    def _watch_buffer(self) -> None:
        self._stop_watching()
        size = _unread(self.transport)
        limit_s = conf.get().idle_timeout_s + _MARGIN_S
        self._stall = self.loop.call_later(limit_s, self._on_stall, size)

    def _stop_watching(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _on_stall(self, size: int) -> None:
        if _unread(self.transport) < size:
            self._watch_buffer()  # slow, but it reads
        else:
            self.transport.abort()


def _unread(transport: asyncio.Transport) -> int:
    """Return the bytes that the client has not taken.

    The system holds megabytes of them, and takes more only when a third of that is
    gone, which for a slow client is minutes.
    """
    buffered = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    try:
        held = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except (AttributeError, OSError):  # closed, or no such question here
        return buffered
    return buffered + int(struct.unpack("i", held)[0])


@contextmanager
def _aborted_by_errors(transport: asyncio.Transport) -> Iterator[None]:
    """Drop a connection whose protocol raises, as the event loop would."""
    try:
        yield
    except BaseException:
        transport.abort()
        raise


class HttpProtocol(_StallLimit, H11Protocol):
    """HTTP with a deadline for each request, and a limit on connections.

    A thousand requests at once, or handshakes of WebSockets, are parsed in turns.
    """

    # What waits for its turn to be parsed.
    _unparsed = b""
    _deadline: asyncio.TimerHandle | None = None
    # The response before the request that the deadline is for.
    _after: Any = None
    _is_http = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline, or reject the connection; called for every new one."""
        super().connection_made(transport)
        if len(self.connections) > conf.get().max_connections:
            self._refuse()
        else:
            self._arm()

    def data_received(self, data: bytes) -> None:
        """Called with received bytes."""
        if self._unparsed:
            self._unparsed += data
        elif turns().has_time:
            self._parse(data)
        else:
            self._unparsed = data
            self._unset_keepalive_if_required()
            self.flow.pause_reading()
            turns().call(self._take_turn, at_the_door=True)

    def _take_turn(self) -> None:
        data, self._unparsed = self._unparsed, b""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        with _aborted_by_errors(self.transport):
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        super().data_received(data)
        self._judge()

    def on_response_complete(self) -> None:
        """Called when a response has been written to the buffer."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_buffer()
        self._judge()

    def timeout_keep_alive_handler(self) -> None:
        """Called when a connection was idle for too long."""
        super().timeout_keep_alive_handler()
        self._watch_buffer()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Stop the deadline; called when the connection becomes a WebSocket."""
        self._is_http = False
        self._disarm()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection has ended."""
        self._is_http = False
        self._disarm()
        super().connection_lost(exc)

    def _judge(self) -> None:
        if not self._is_http or not self._is_arriving():
            self._disarm()
        elif self._deadline is None or self._after is not self.cycle:
            self._arm()

    def _is_arriving(self) -> bool:
        """Return whether a part of a request is missing."""
        if self.conn.their_state is h11.IDLE:
            return self.cycle is None or bool(self.conn.trailing_data[0])
        return self.conn.their_state is h11.SEND_BODY

    def _arm(self) -> None:
        self._disarm()
        self._after = self.cycle
        limit_s = conf.get().request_timeout_s
        self._deadline = self.loop.call_later(limit_s, self._on_deadline)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        if self.flow.read_paused:
            self._arm()  # the application does not read, not the client
        else:
            self.transport.abort()

    def _refuse(self) -> None:
        logger.warning("Too many connections: one was refused")
        self.transport.write(
            b"HTTP/1.1 503 Service Unavailable\r\n"
            b"content-type: application/json\r\n"
            b"content-length: %d\r\n"
            b"retry-after: %d\r\n"
            b"connection: close\r\n\r\n%b" % (len(_BUSY), _RETRY_S, _BUSY)
        )
        self.transport.close()


class WebSocketProtocol(_StallLimit, WebSocketsSansIOProtocol):
    """WebSocket that drops a client which takes nothing, and parses in slices.

    One read may bring twenty thousand frames. Nothing more is read before they are
    parsed, which is done in turns.
    """

    _unparsed = b""
    _holds_reading = False

    def data_received(self, data: bytes) -> None:
        """Called with what has arrived."""
        is_waiting = bool(self._unparsed)
        self._unparsed += data
        if is_waiting:
            return
        if turns().has_time:
            self._parse(_AT_ONCE_S)
        else:
            self._wait_for_turn()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection has ended."""
        self._unparsed = b""
        super().connection_lost(exc)

    def _take_turn(self) -> None:
        with _aborted_by_errors(self.transport):
            self._parse(_SLICE_S)

    def _parse(self, limit_s: float) -> None:
        data, start = self._unparsed, 0
        self.read_paused = self.read_paused or self._holds_reading
        deadline = time.perf_counter() + limit_s
        while start < len(data) and not self.transport.is_closing():
            super().data_received(data[start : start + _PIECE_BYTES])
            start += _PIECE_BYTES
            if time.perf_counter() >= deadline:
                break
        self._unparsed = b"" if self.transport.is_closing() else data[start:]
        if self._unparsed:
            self._wait_for_turn()
        elif self._holds_reading:
            self._give_reading_back()

    def _wait_for_turn(self) -> None:
        self._hold_reading()
        turns().call(self._take_turn)

    def _hold_reading(self) -> None:
        """Keep the application, which may be faster, from having more read."""
        if not self.read_paused:
            self.transport.pause_reading()
        self.read_paused = False
        self._holds_reading = True

    def _give_reading_back(self) -> None:
        self._holds_reading = False
        if self.queue.empty() and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()
