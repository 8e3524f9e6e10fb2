"""A connection: one request after another, each with its response."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import cast

from llmchat.providers.transport import ConnectionLostError, Response, TransportError

from .body import ReceivedBody
from .head import Head
from .parser import ResponseParser


class Connection(asyncio.Protocol):
    """Serves one exchange at a time.

    `on_end` is called once for each, when its response is complete, broke off or was
    given up; `on_lost` once, when the connection is closed.
    """

    def __init__(
        self,
        on_end: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
    ) -> None:
        self._on_end = on_end
        self._on_lost = on_lost
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: ResponseParser | None = None  # None between exchanges
        self._head: asyncio.Future[Head] | None = None
        self._body: ReceivedBody | None = None
        self._is_paused = False
        self.is_open = False
        self.idle_until = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether it may serve another exchange now."""
        return self.is_open and self.loop.time() < self.idle_until

    @property
    def has_input(self) -> bool:
        """Whether something has arrived that the event loop has not seen yet.

        On an idle connection that is the end of it, or data that was not asked for.
        """
        assert self._transport is not None
        connection = self._transport.get_extra_info("socket")
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    async def exchange(self, request: bytes) -> Response:
        """Send a request; return the response as soon as its headers are there.

        Raises:
            TransportError: there is no response.
        """
        assert self._transport is not None
        assert self._parser is None
        assert self.is_open
        self._parser = ResponseParser()
        self._body = body = ReceivedBody(self, self.loop)
        self._head = waiting = self.loop.create_future()
        self._transport.write(request)
        try:
            head = await waiting
        except BaseException:
            if self._body is body:  # else it is over, and another may be under way
                self.abort()
            raise
        return Response(head.status, head.headers, body, is_over=body.is_over)

    def abort(self, error: TransportError | None = None) -> None:
        """Close immediately. An exchange under way fails with `error`."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()
        self._end(error or ConnectionLostError("closed"))

    def pause(self) -> None:
        """Stop reading from the peer for now."""
        if not self._is_paused and self.is_open and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read from the peer again."""
        if self._is_paused and self.is_open and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Take what the peer has sent."""
        parser, body = self._parser, self._body
        if parser is None or body is None:  # no request was sent
            self.abort()
            return
        try:
            piece = parser.receive(data)
        except TransportError as error:
            self.abort(error)
            return
        if parser.head is not None:
            self._tell_head(parser.head)
        if piece:
            body.receive(piece)
        if parser.is_complete:
            self._end(None)

    def eof_received(self) -> None:
        """End the exchange; the event loop then closes the connection."""
        self._lose("EOFError")

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange, and have the connection forgotten."""
        self._lose("EOFError" if exc is None else type(exc).__name__)
        self._transport = None
        self._on_lost(self)

    def _lose(self, reason: str) -> None:
        parser = self._parser
        if parser is None:
            self.abort()
        elif reason == "EOFError" and parser.receive_eof():
            self._end(None)
        else:
            self.abort(ConnectionLostError(reason))

    def _tell_head(self, head: Head) -> None:
        if self._head is not None and not self._head.done():
            self._head.set_result(head)

    def _end(self, error: TransportError | None) -> None:
        """End the exchange, if there is one; keep the connection if it is reusable."""
        parser, body = self._parser, self._body
        if parser is None or body is None:
            return
        head, self._head = self._head, None
        self._parser = self._body = None
        if error is not None and head is not None and not head.done():
            head.set_exception(error)
        body.end(error)
        self.idle_until = self.loop.time() + parser.keepalive_s
        if not self._is_reusable():
            self.abort()
        self._on_end(self)

    def _is_reusable(self) -> bool:
        """Whether nothing is left of the exchange, and another one may begin."""
        transport = self._transport
        if not self.is_usable or transport is None or transport.is_closing():
            return False
        self.resume()
        return not transport.get_write_buffer_size()
