"""One WebSocket: it opens a session of its own, or wants to join an existing one.

Nothing here waits for anything except its own connection and its turn: otherwise it
would not see a disconnect that follows the message it is handling.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .asgi_server import (
    abort,
    close_websocket,
    direct_writer,
    forget_handshake,
    is_closing,
    takes_texts,
    write_texts,
)
from .cors import cors_headers
from .engine_consumer import EngineConsumer, Message, Receive
from .engineio.errors import RequestError
from .server import Server
from .transports import Endpoint
from .turns import Pace, turns


class WebSocketConsumer(EngineConsumer):
    """One WebSocket, as its session writes to it."""

    server: ClassVar[Server]

    endpoint: Endpoint | None = None
    direct: Any = None

    async def serve(self, receive: Receive) -> None:
        """Take in what arrives until the connection is lost or closed."""
        pace = Pace()
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                if message["type"] == "websocket.connect":
                    await turns().come_or_go()
                    await self.connect()
                else:
                    # While it waits, the server below reads no further.
                    await pace.spend(self.receive_frame(message))
            # Many may be dropped at the same time.
            await turns().come_or_go()
        finally:
            self.leave()

    # From the client.

    async def connect(self) -> None:
        """Judge the handshake, accept it, and hand the WebSocket to its session.

        A WebSocket that the session does not want is accepted and then closed: in Node
        a refused handshake would be an unhandled error.
        """
        try:
            _, endpoint = self.server.admit(self.request)
            peer = None
            if endpoint is None:
                endpoint = peer = await self.server.open(self.request)
        except RequestError as error:
            await self.refuse_handshake(error)
            return
        self.endpoint = endpoint
        await self.accept()
        self.direct = direct_writer(self.base_send)
        if is_closing(self.base_send):
            # It was reset during the handshake; the disconnect is on its way.
            return
        if peer is not None:
            peer.adopt(self)
        else:
            endpoint.open_websocket(self)

    def receive_frame(self, message: Message) -> int:
        """Hand over a frame, and return its size."""
        text = message.get("text")
        frame: str | bytes = message["bytes"] if text is None else text
        if self.endpoint is not None:
            self.endpoint.receive_frame(self, frame)
        return len(frame)

    # From the session.

    async def accept(self) -> None:
        """Complete the handshake."""
        headers = [
            *self.http.extra_headers,
            *cors_headers(self.request.origin, self.http),
        ]
        await self.base_send({"type": "websocket.accept", "headers": headers})
        forget_handshake(self.base_send)

    def takes_texts(self) -> bool:
        """Return whether `write_texts` may be called now; if not, use `send_frame`."""
        return self.direct is not None and takes_texts(self.direct)

    def write_texts(self, frames: list[str]) -> None:
        """Write text frames immediately."""
        write_texts(self.direct, frames)

    async def send_frame(self, frame: str | bytes) -> None:
        """Send one frame; may wait for a slow client."""
        kind = "text" if isinstance(frame, str) else "bytes"
        await self.base_send({"type": "websocket.send", kind: frame})

    async def close(self, code: int) -> None:
        """Close in order; drop it if the client no longer takes anything."""
        self.endpoint = None
        await close_websocket(self.base_send, code)

    def abort(self) -> None:
        """Drop the connection, with what the server has buffered for it."""
        self.endpoint = None
        abort(self.base_send)

    def leave(self) -> None:
        """Report to the session that the WebSocket has ended, whatever ended it."""
        endpoint, self.endpoint = self.endpoint, None
        if endpoint is not None:
            endpoint.lose_websocket(self)
