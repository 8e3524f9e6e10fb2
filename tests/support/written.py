"""A connection without a network, whose server is driven step by step."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from serving.http_protocol import HttpProtocol


class Written(asyncio.Transport):
    """The server's end of a connection, which keeps what is written to it."""

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self.protocol = protocol
        self.pieces: list[bytes] = []
        self.has_closed = False
        # Whether bytes are pending that the client has not taken. What is written after
        # the close is then still sent.
        self.is_pending = False
        self.reads = True
        protocol.connection_made(self)

    @property
    def text(self) -> bytes:
        """All that was written."""
        return b"".join(self.pieces)

    def receive(self, data: bytes) -> None:
        """Take in what a client sends; close if the protocol raises, as a loop does."""
        if self.has_closed:
            return
        try:
            self.protocol.data_received(data)
        except Exception:
            self.abort()

    def write(self, data: Any) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(data)
        if data and (self.is_pending or not self.has_closed):
            self.pieces.append(bytes(data))

    def is_closing(self) -> bool:
        return self.has_closed

    def close(self) -> None:
        if not self.has_closed:
            self.has_closed = True
            if self.is_pending:
                return
            loop = asyncio.get_running_loop()
            loop.call_soon(lambda: self.protocol.connection_lost(None))

    def abort(self) -> None:
        self.close()

    def get_write_buffer_size(self) -> int:
        return 0

    def is_reading(self) -> bool:
        return self.reads

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol


def connected(
    application: Any, kind: type[HttpToolsProtocol] = HttpProtocol, **options: Any
) -> Written:
    """Return a new connection to an application."""
    config = Config(
        application,
        interface="asgi3",
        ws="serving.websocket_protocol:WebSocketProtocol",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        log_config=None,
        **options,
    )
    config.load()
    loop = asyncio.get_running_loop()
    return Written(kind(config, ServerState(), {}, loop))
