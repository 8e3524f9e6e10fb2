"""What an idle WebSocket keeps, and what an ended one; the server below is uvicorn."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from uvicorn import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import (
    WebSocketsSansIOProtocol,
)
from uvicorn.server import ServerState

from llmchat.realtime import HttpOptions, Namespace, Server, SocketIO, make_consumers
from tests.support.peers import turns

HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nX-Client: test\r\n\r\n"
)


def connection(server: Server) -> Any:
    """Return uvicorn's protocol for a WebSocket whose handshake has arrived."""
    _, consumer = make_consumers(server, HttpOptions())
    config = Config(consumer.as_asgi(), interface="asgi3", lifespan="off")
    config.load()
    loop = asyncio.get_running_loop()
    protocol = WebSocketsSansIOProtocol(config, ServerState(), {}, loop)
    transport = Mock()
    transport.is_closing.return_value = False
    protocol.connection_made(transport)
    protocol.data_received(HANDSHAKE)
    return protocol


def frame(text: str) -> bytes:
    """Return a client's frame with a mask of zeros."""
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text.encode()


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_the_headers_of_a_handshake_are_not_kept() -> None:
    server = Server(SocketIO([Namespace()]))
    protocol = connection(server)
    await turns()

    (peer,) = server
    calls = protocol.transport.write.call_args_list
    written = b"".join(call.args[0] for call in calls)
    assert written.startswith(b"HTTP/1.1 101")
    assert b'"sid":"' + peer.sid.encode() in written
    assert peer.handshake.headers["x-client"] == "test"
    assert not protocol.request.headers
    assert not protocol.response.headers
    assert not protocol.scope["headers"]

    protocol.connection_lost(None)
    await turns()
    assert len(server) == 0


@pytest.mark.usefixtures("no_collection")
async def test_a_session_that_has_ended_is_freed_without_a_collection() -> None:
    server = Server(SocketIO([Namespace()]))
    protocol = connection(server)
    await turns()
    protocol.data_received(frame("40"))
    await turns()
    (kept,) = map(weakref.ref, server)
    assert kept() is not None

    protocol.connection_lost(None)
    await turns()

    assert kept() is None
