"""The consumers of one server, to be routed before Django."""

from __future__ import annotations

from .cors import HttpOptions
from .polling_consumer import PollingConsumer
from .server import Server
from .websocket_consumer import WebSocketConsumer


def make_consumers(
    server: Server, http: HttpOptions
) -> tuple[type[PollingConsumer], type[WebSocketConsumer]]:
    """Return the two consumers of one server."""
    members = {"server": server, "http": http}
    return (
        type("PollingConsumer", (PollingConsumer,), members),
        type("WebSocketConsumer", (WebSocketConsumer,), members),
    )
