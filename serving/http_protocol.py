"""HTTP of the production server: uvicorn's, with limits on unfinished requests.

uvicorn waits forever for a request that does not arrive completely.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum, StrEnum, auto
from functools import partial
from typing import Any, ClassVar, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llmchat import conf
from llmchat.realtime.turns import turns
from serving.flow import Flow
from serving.handshake import response_to
from serving.joined import Joined
from serving.refused import Asked, bad_request, busy
from serving.stalls import StallLimit, aborted_by_errors

logger = logging.getLogger("uvicorn.error")

# The parser buffers a head, a chunk's extensions and trailers until they are complete.
_LONGEST_HEAD = 65_536
# While no more requests than this wait for earlier responses, the connection is still
# read: otherwise the server would not notice that the client is gone.
_PIPELINED = 8
# How many requests of one read may wait; a read can bring fourteen thousand.
_MOST_PIPELINED = 16
# How long a connection over the limit has to send its request before it is refused, and
# how many such connections are waited for at a time.
_REFUSED_S = 1.0
_REFUSED_AT_ONCE = 100


class _Part(Enum):
    """The part of a request that is expected next."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class Reason(StrEnum):
    """Why a request is refused before the application sees it."""

    INVALID = "Invalid HTTP request received."
    NO_PROXY = "This server is not a proxy."
    LONG_HEAD = "The URL or the headers of the request are too long."
    TOO_MANY = "Too many requests are waiting on this connection."


class _TooManyError(Exception):
    """Too many requests wait; the parser's own error has this one as its context."""


class HttpProtocol(StallLimit, HttpToolsProtocol):
    """HTTP with limits on each request's time and head, and on connections.

    If a thousand requests or WebSocket handshakes arrive together, they are parsed in
    turns.
    """

    flow: Flow
    # Received bytes that wait for a turn to be parsed: those of one read, since nothing
    # more is read before that.
    _unparsed = b""
    _next = _Part.HEAD
    # Whether the read that is parsed has begun a request. The request gets a deadline
    # only if it has not arrived whole by the end of that read.
    _has_begun = False
    # When the connection became idle; None while a request arrives or is answered. The
    # keep-alive timer is not stopped by a request: it asks here when it fires.
    _idle_since: float | None = None
    # Bytes since the last head or piece of a body; the parser may be buffering them.
    _kept = 0
    _deadline: asyncio.TimerHandle | None = None
    # uvicorn's cycle of the response that is being made; `cycle` is that of the request
    # that arrived last.
    _running: Any = None
    _is_http = True
    # The last response, which refuses a request and follows all that are due. While it
    # is set, nothing more is parsed.
    _refusal: bytes | None = None
    # The request of a connection that is rejected.
    _asked: Asked | None = None
    _rejected: ClassVar[int] = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline, or reject the connection; called for every new one."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        if len(self.connections) > conf.get().max_connections:
            self._reject()
        else:
            self._arm()

    def data_received(self, data: bytes) -> None:
        """Called with received bytes."""
        if self._asked is not None:
            if self._asked.feed(data):
                self._refuse(self._asked)
            return
        if self._refusal is not None:
            return
        if turns().is_door_free:
            self._parse(data)
        else:
            self._unparsed = data
            # This also delays the notice that the client has closed: a client may close
            # right after its request, and what is not parsed by then would be lost.
            self.flow.hold_reading()
            turns().call(self._take_turn, at_the_door=True)

    def _take_turn(self) -> None:
        data, self._unparsed = self._unparsed, b""
        if not data or self.transport.is_closing():
            return
        self.flow.release_reading()
        if self._refusal is not None:
            return
        with aborted_by_errors(self.transport):
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        self._kept += len(data)
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as exc:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            else:
                self._decline_upgrade(data[exc.args[0] :])
        except HttpParserError as exc:
            is_flood = isinstance(exc.__context__, _TooManyError)
            self._refuse_request(Reason.TOO_MANY if is_flood else Reason.INVALID)
        is_over = self._refusal is not None or self.transport.is_closing()
        if self._kept > _LONGEST_HEAD and not is_over:
            self._refuse_request(Reason.LONG_HEAD)
        self._judge()

    def _refuse_request(self, reason: Reason) -> None:
        """Refuse the request that is arriving, after the responses that are due."""
        logger.warning(reason)
        if self._breaks_off:
            if self._running is not self.cycle:
                self.pipeline.popleft()  # the broken request must not be served
            elif self.cycle.response_started:
                self.cycle.transport.close()  # which writes a head that waits, first
                return
            else:
                self.send_400_response(reason)
                return
        if not self._is_answering:
            self.send_400_response(reason)
            return
        self._refusal = self._refused(reason)
        self._read_no_further()

    def _read_no_further(self) -> None:
        """Discard what arrives, but keep reading, to notice that the client is gone."""
        self._next = _Part.NOTHING
        self.flow.resume_reading()

    @property
    def _breaks_off(self) -> bool:
        """Return whether the last request awaits its response without a whole body."""
        cycle = self.cycle
        is_open = cycle is not None and cycle.more_body and not cycle.response_complete
        return self._next is _Part.BODY and is_open

    def _refused(self, reason: str) -> bytes:
        is_begun = self.scope is not None
        url, headers = (self.url, self.headers) if is_begun else (b"", [])
        return bad_request(reason, url, headers)

    def send_400_response(self, msg: str) -> None:
        """Write the response to a request that cannot be read, and close."""
        self.transport.write(self._refused(msg))
        self.transport.close()

    def _decline_upgrade(self, rest: bytes) -> None:
        """Answer a request as if it offered no other protocol.

        Its body is in `rest`, which the parser takes for data of the other protocol.
        Clients offer HTTP/2 in this way.
        """
        method = str(self.scope["method"])
        if method == "CONNECT":
            self._refuse_request(Reason.NO_PROXY)
            return
        self.parser = HttpRequestParser(self)
        lines = [b"%b %b HTTP/1.1" % (method.encode(), self.url)]
        lines += [b"%b: %b" % h for h in self.headers if h[0] != b"upgrade"]
        self._kept = 0
        self._parse(b"\r\n".join([*lines, b"", rest]))

    @property
    def _is_offer(self) -> bool:
        """Return whether the request offers a protocol that is not spoken here."""
        return self.parser.should_upgrade() and not self._should_upgrade()

    def on_message_begin(self) -> None:
        """Called with the first byte of a request."""
        if len(self.pipeline) >= _MOST_PIPELINED:
            raise _TooManyError
        if self._next is not _Part.BODY:  # else its offer was declined: same request
            self._has_begun = True
        self._next = _Part.HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Called with the end of a request's head."""
        self._next, self._kept = _Part.BODY, 0
        if self._is_offer:
            self.scope["method"] = self.parser.get_method().decode()
        else:
            super().on_headers_complete()
            if 0 < len(self.pipeline) <= _PIPELINED:
                self.flow.resume_reading()

    def on_body(self, body: bytes) -> None:
        """Called with a piece of a request's body."""
        self._kept = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called with the end of a request."""
        self._kept = 0
        if not self._is_offer:  # an offer's body, if any, is still to be parsed
            self._next = _Part.NOTHING
            super().on_message_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        if cycle.scope["method"] != "HEAD":  # else nothing is written behind the head
            cycle.transport = Joined(self.transport, self.loop)
        super()._start_asgi_task(cycle, partial(self._run, cycle, app))

    async def _run(self, cycle: Any, app: Any, *args: Any) -> Any:
        try:
            return await app(*args)
        finally:
            if not cycle.response_complete:
                # uvicorn closes the connection right after this.
                self.loop.call_soon(self.watch_end)

    def on_response_complete(self) -> None:
        """Called when a response has been written to the buffer.

        It does what uvicorn does, except for a new keep-alive timer.
        """
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
            elif self._refusal is not None:
                self.transport.write(self._refusal)
                self.transport.close()
        self._judge()

    def timeout_keep_alive_handler(self) -> None:
        """Called when a connection may have been idle for too long."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return  # The timer starts again with the next idle time.
        rest_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if self._unparsed:
            # Until these bytes are parsed, they may or may not begin a request.
            rest_s = self.timeout_keep_alive
        if rest_s > 0:
            self._await_request(rest_s)
            return
        super().timeout_keep_alive_handler()
        self.watch_end()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over; called when it becomes a WebSocket.

        From then on, only the other protocol is notified of what the connection
        receives, and of its end. If the client is not reading, the other protocol
        missed the notice of that, so it is repeated here.

        While a response is still due, the upgrade is refused: the response would be
        written between the frames, or would not be notified of the connection's end.
        """
        if self._is_answering:
            self._refuse_request(Reason.INVALID)
            return
        self._is_http = False
        self._disarm()
        self._unset_keepalive_if_required()
        self.let_go()
        self._begin_websocket()
        self.parser = None  # type: ignore[assignment]  # it refers to this
        if self.flow.write_paused:
            cast(asyncio.Protocol, self.transport.get_protocol()).pause_writing()

    def _begin_websocket(self) -> None:
        response = None
        if not self.config.ws_per_message_deflate:  # else there is more to negotiate
            response = response_to(self.scope, self.url)
        if response is None:
            super().handle_websocket_upgrade()
            return
        self.connections.discard(self)
        protocol: Any = self.ws_protocol_class(  # type: ignore[call-arg, misc]
            config=self.config,
            server_state=self.server_state,
            app_state=self.app_state,
        )
        protocol.take_over(self.transport, self.url, self.headers, response)
        self.transport.set_protocol(protocol)

    def shutdown(self) -> None:
        """Finish the running response, and close; called when the server stops.

        Requests that wait behind it are not begun: the response's `Connection: close`
        tells the client so. uvicorn would answer all of them.
        """
        self._take_last_turn()
        if self.transport.is_closing():
            return
        if not self._is_http:  # what waited was the handshake of a WebSocket
            cast(Any, self.transport.get_protocol()).shutdown()
        elif not self._is_answering:
            super().shutdown()
        else:
            self._finish_running()

    def _take_last_turn(self) -> None:
        """Parse what waits for its turn, as if the door had been free when it came.

        It may begin a request, which would otherwise get no response, or a WebSocket.
        """
        try:
            self._take_turn()
        except Exception:  # the other connections must be closed, too
            logger.exception("what a client had sent could not be parsed")

    def _finish_running(self) -> None:
        self._running.keep_alive = False
        if self._running is not self.cycle:
            self.pipeline.clear()
            self._refusal = b""
            self._read_no_further()
            self._judge()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection has ended."""
        self._is_http = False
        self._disarm()
        self._unset_keepalive_if_required()
        if self._asked is not None:
            self._end_rejection()
        super().connection_lost(exc)
        self._end_running()

    def _end_running(self) -> None:
        """Notify the running response that its client is gone.

        uvicorn notifies only the response to the last request. If further requests
        wait, the running one would continue without a client, and then be written to a
        closed connection.
        """
        if self._is_answering:
            self._running.disconnected = True
            self._running.message_event.set()

    @property
    def _is_answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _judge(self) -> None:
        self.watch_end()
        # A connection is idle until a request begins, even if other bytes arrive: empty
        # lines may follow a response.
        if self._next is not _Part.NOTHING or self._is_answering:
            self._idle_since = None
        elif self._is_http and not self.transport.is_closing():
            self._begin_idling()
        if not self._is_http or self._next is _Part.NOTHING:
            self._disarm()
        elif self._has_begun:
            self._arm()
        self._has_begun = False

    def _begin_idling(self) -> None:
        if self._idle_since is None:
            self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._await_request(self.timeout_keep_alive)

    def _await_request(self, limit_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            limit_s, self.timeout_keep_alive_handler
        )

    def _arm(self) -> None:
        self._disarm()
        limit_s = conf.get().request_timeout_s
        self._deadline = self.loop.call_later(limit_s, self._on_deadline)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        if self.flow.read_paused:
            self._arm()  # the application does not read: not the client's fault
        else:
            self.transport.abort()

    def _reject(self) -> None:
        """Refuse a connection, once it has sent what the response depends on."""
        logger.warning("Too many connections: one was refused")
        # It does not count: no other connection is rejected because of it.
        self.connections.discard(self)
        asked = Asked()
        if HttpProtocol._rejected >= _REFUSED_AT_ONCE:
            self._write_busy(asked)
            return
        HttpProtocol._rejected += 1
        self._asked = asked
        self._deadline = self.loop.call_later(_REFUSED_S, self._refuse, asked)

    def _refuse(self, asked: Asked) -> None:
        self._disarm()
        self._end_rejection()
        self._write_busy(asked)

    def _end_rejection(self) -> None:
        HttpProtocol._rejected -= 1
        self._asked = None

    def _write_busy(self, asked: Asked) -> None:
        self.transport.write(busy(asked))
        self.transport.close()
