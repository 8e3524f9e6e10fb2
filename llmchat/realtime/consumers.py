"""The consumers of one server, to be routed before Django."""

from __future__ import annotations

from .cors import HttpOptions
from .engine_consumer import EngineConsumer, Receive
from .engineio.errors import Refusal, RequestError
from .polling_consumer import PollingConsumer
from .server import Server
from .websocket_consumer import WebSocketConsumer


class NotFoundConsumer(EngineConsumer):
    """Refuses a WebSocket on any other path.

    Without it, Channels would fail with a traceback when no route matches.
    """

    async def serve(self, receive: Receive) -> None:
        """Refuse the handshake, and wait for the disconnect."""
        while (await receive())["type"] != "websocket.disconnect":
            await self.refuse_handshake(RequestError(Refusal.BAD_REQUEST, "Not found"))


def make_not_found(http: HttpOptions) -> type[NotFoundConsumer]:
    """Return the consumer of the WebSockets that no route takes."""
    return type("NotFoundConsumer", (NotFoundConsumer,), {"http": http})


def make_consumers(
    server: Server, http: HttpOptions
) -> tuple[type[PollingConsumer], type[WebSocketConsumer]]:
    """Return the two consumers of one server: for HTTP, for WebSockets."""
    members = {"server": server, "http": http}
    return (
        type("PollingConsumer", (PollingConsumer,), members),
        type("WebSocketConsumer", (WebSocketConsumer,), members),
    )
