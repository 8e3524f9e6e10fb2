"""WebSocket of the production server: uvicorn's, parsed in slices."""

from __future__ import annotations

import asyncio
import logging
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from uvicorn.protocols.websockets.websockets_sansio_impl import (
    WebSocketsSansIOProtocol,
)
from websockets.exceptions import InvalidState
from websockets.http11 import Response
from websockets.protocol import Protocol as Frames
from websockets.protocol import State

from llmchat import conf
from llmchat.realtime.turns import turns
from serving.stalls import StallLimit, aborted_by_errors

logger = logging.getLogger("uvicorn.error")

Headers = list[tuple[bytes, bytes]]

# Frames are parsed in pieces of this many bytes, for this long in one turn. The first
# frames need not wait for a turn, but get less time: there may be many connections.
_PIECE_BYTES = 512
_SLICE_S = 0.001
_FIRST_SLICE_S = 0.0002


class WebSocketProtocol(StallLimit, WebSocketsSansIOProtocol):
    """A WebSocket that parses in slices, and drops a client that reads nothing.

    One read can bring twenty thousand frames. They are parsed in turns, and nothing
    more is read before that is done.
    """

    _unparsed = b""
    _holds_reading = False
    # The answer to the last ping, kept while the client reads nothing.
    _pongs = b""
    # Limits the time until the handshake is complete.
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline; called for every new connection."""
        super().connection_made(transport)
        limit_s = conf.get().request_timeout_s
        self._deadline = self.loop.call_later(limit_s, self.transport.abort)

    def take_over(
        self,
        transport: asyncio.Transport,
        url: bytes,
        headers: Headers,
        response: Response,
    ) -> None:
        """Begin behind a handshake that is whole; called instead of `connection_made`.

        `response` accepts it, if the application does. This is what uvicorn does once
        `websockets` has judged a handshake.
        """
        super().connection_made(transport)
        self.conn.parser = Frames.parse(self.conn)  # it would await the request first
        next(self.conn.parser)
        self.response = response
        self.handshake_initiated = True
        self.scope = self._described(url, headers)
        self.queue.put_nowait({"type": "websocket.connect"})
        task = self.loop.create_task(self.run_asgi())
        task.add_done_callback(self.on_task_complete)
        self.tasks.add(task)

    def _described(self, url: bytes, headers: Headers) -> Any:
        path, _, query = url.partition(b"?")
        return {
            "type": "websocket",
            "asgi": {"version": self.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": self.scheme,
            "server": self.server,
            "client": self.client,
            "root_path": self.root_path,
            "path": self.root_path + unquote(path.decode("ascii")),
            "raw_path": self.root_path.encode("ascii") + path,
            "query_string": query,
            # httptools leaves the white space behind a value.
            "headers": [(name, value.rstrip(b" \t")) for name, value in headers],
            "subprotocols": [],
            "state": self.app_state.copy(),
            "extensions": {"websocket.http.response": {}},
        }

    def data_received(self, data: bytes) -> None:
        """Called with what has arrived."""
        is_waiting = bool(self._unparsed)
        self._unparsed += data
        if is_waiting:
            return
        if turns().has_time:
            self._parse(_FIRST_SLICE_S)
        else:
            self._wait_for_turn()

    async def send(self, message: Any) -> None:
        """Send a message of the application."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            # If the application refuses a handshake with its own response, uvicorn
            # would log that the handshake was never completed.
            self.handshake_complete = True
        if self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = self.loop.call_later(self.close_timeout, self._close)
        self.watch_end()

    def handle_ping(self) -> None:
        """Answer pings; while the client reads nothing, only the last of them.

        RFC 6455, 5.5.3 allows that. Otherwise the answers to a client that only sends
        pings would pile up. After the server's close frame no answer is kept: the
        connection does not end before the client has read that frame, or has had its
        time to.
        """
        # After the client's close frame, nothing but that frame is answered.
        if self.writable.is_set() or self.conn.close_rcvd is not None:
            super().handle_ping()
            return
        said = b"".join(self.conn.data_to_send())
        if said and self.conn.state is State.OPEN:
            self._pongs = said

    def resume_writing(self) -> None:
        """Answer the last ping; called when the client has read enough."""
        super().resume_writing()
        said, self._pongs = self._pongs, b""
        if said and self.conn.state is State.OPEN and not self.transport.is_closing():
            self.transport.write(said)

    def _close(self) -> None:
        """Close; called when the client has had its time to close."""
        self.transport.close()
        self.watch_end()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Called when the application has ended; uvicorn then closes the connection."""
        super().on_task_complete(task)
        self.watch_end()

    def send_receive_event_to_app(self) -> None:
        """Pass a message on; called when it is whole."""
        try:
            super().send_receive_event_to_app()
        except InvalidState:
            # It is no UTF-8, and without a handshake there is no close frame to say so.
            self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """Called when what arrived is not the WebSocket protocol."""
        if self.handshake_complete:
            super().handle_parser_exception()
            return
        # uvicorn relies on a close frame, but none exists before the handshake.
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self.transport.close()
        self.handshake_complete = self.disconnected = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection has ended."""
        self._unparsed = b""
        self._disarm()
        super().connection_lost(exc)

    def _take_turn(self) -> None:
        with aborted_by_errors(self.transport):
            self._parse(_SLICE_S)

    def _parse(self, limit_s: float) -> None:
        data, start = self._unparsed, 0
        self.read_paused = self.read_paused or self._holds_reading
        deadline = time.perf_counter() + limit_s
        while start < len(data) and not self.transport.is_closing():
            super().data_received(data[start : start + _PIECE_BYTES])
            start += _PIECE_BYTES
            if self._deadline is not None:
                self._judge_handshake()
            if time.perf_counter() >= deadline:
                break
        self._unparsed = b"" if self.transport.is_closing() else data[start:]
        if self._unparsed:
            self._wait_for_turn()
        elif self._holds_reading:
            self._give_reading_back()
        self.watch_end()

    def _judge_handshake(self) -> None:
        if self.handshake_initiated:
            self._disarm()
        elif self.conn.handshake_exc is not None:
            self._refuse_handshake(self.conn.handshake_exc)

    def _refuse_handshake(self, exc: Exception) -> None:
        """Answer a request that `websockets` does not understand, or finds too long.

        `websockets` emits no event for it, so uvicorn would not respond and would wait
        forever.
        """
        logger.warning("opening handshake failed: %s", exc)
        text = f"Failed to open a WebSocket connection: {exc}.\n"
        unread = self.conn.reject(HTTPStatus.BAD_REQUEST, text)
        said = b"".join(self.conn.data_to_send())
        self.transport.write(said or unread.serialize())
        self.transport.close()
        self.handshake_complete = self.close_sent = self.disconnected = True

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _wait_for_turn(self) -> None:
        self._hold_reading()
        turns().call(self._take_turn)

    def _hold_reading(self) -> None:
        """Pause reading, and keep a fast application from resuming it."""
        if not self.read_paused:
            self.transport.pause_reading()
        self.read_paused = False
        self._holds_reading = True

    def _give_reading_back(self) -> None:
        self._holds_reading = False
        # After its close, the application may never empty the queue, but nothing more
        # is put there.
        is_taken = self.queue.empty() or self.close_sent
        if is_taken and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()
