"""What an idle WebSocket keeps: its server's protocol is a real one."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import Mock

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


async def test_the_headers_of_a_handshake_are_not_kept_for_the_life_of_a_socket() -> (
    None
):
    server = Server(SocketIO([Namespace()]))
    _, consumer = make_consumers(server, HttpOptions())
    config = Config(consumer.as_asgi(), interface="asgi3", lifespan="off")
    config.load()
    protocol: Any = WebSocketsSansIOProtocol(
        config, ServerState(), {}, asyncio.get_running_loop()
    )
    transport = Mock()
    transport.is_closing.return_value = False
    protocol.connection_made(transport)

    protocol.data_received(HANDSHAKE)
    await turns()

    (peer,) = server
    written = b"".join(call.args[0] for call in transport.write.call_args_list)
    assert written.startswith(b"HTTP/1.1 101")
    assert b'"sid":"' + peer.sid.encode() in written
    assert peer.handshake.headers["x-client"] == "test"
    assert not protocol.request.headers
    assert not protocol.response.headers
    assert not protocol.scope["headers"]

    protocol.connection_lost(None)
    await turns()
    assert len(server) == 0
