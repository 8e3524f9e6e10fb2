"""Frames that are written directly are the frames that uvicorn would have sent."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import (
    WebSocketsSansIOProtocol,
)
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from llmchat.realtime.asgi_server import direct_writer, takes_texts, write_texts
from llmchat.realtime.writer import MAX_CHARS_AT_ONCE, Close, Writer


class Transport:
    """A transport that keeps what is written, and may be closing."""

    closing = False

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closing


def opened() -> Any:
    """Return uvicorn's protocol with an open WebSocket."""
    config = SimpleNamespace(
        loaded=True,
        loaded_app=None,
        root_path="",
        asgi_version="3.0",
        ws_per_message_deflate=False,
        ws_max_size=1024,
        ws_ping_interval=None,
        ws_ping_timeout=None,
    )
    state = SimpleNamespace(connections=set(), tasks=set(), default_headers=[])
    protocol: Any = WebSocketsSansIOProtocol(config, state, {})  # type: ignore[arg-type]
    protocol.transport = Transport()
    protocol.handshake_complete = True
    protocol.conn.state = State.OPEN
    return protocol


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
async def test_a_frame_is_the_one_that_the_server_sends(size: int) -> None:
    protocol, text = opened(), "ü" * (size // 2) + "x" * (size % 2)
    assert takes_texts(protocol)

    write_texts(protocol, [text])
    await protocol.send({"type": "websocket.send", "text": text})

    direct, sent = protocol.transport.written
    assert direct == sent
    assert direct == Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


async def test_many_frames_are_one_write_in_order() -> None:
    protocol = opened()
    write_texts(protocol, ["a", "b", "c"])
    assert protocol.transport.written == [b"\x81\x01a\x81\x01b\x81\x01c"]


@pytest.mark.parametrize(
    "hinder",
    [
        lambda protocol: protocol.pause_writing(),
        lambda protocol: protocol.conn.send_close(1000),
        lambda protocol: protocol.conn.extensions.append(
            PerMessageDeflate(False, False, 15, 15)
        ),
        lambda protocol: protocol.conn.send_text(b"", fin=False),
        lambda protocol: setattr(protocol.transport, "closing", True),
        lambda protocol: setattr(protocol.conn, "state", State.CONNECTING),
    ],
    ids=["full", "closed", "compressed", "in parts", "lost", "connecting"],
)
async def test_nothing_is_written_at_once_where_the_server_would_do_more(
    hinder: Any,
) -> None:
    protocol = opened()
    hinder(protocol)
    assert not takes_texts(protocol)


async def test_only_the_server_that_is_known_is_written_to() -> None:
    async def send(message: dict[str, Any]) -> None:
        """Represent the `send` of any other server."""

    protocol = opened()
    assert direct_writer(protocol.send) is protocol
    assert direct_writer(send) is None
    del protocol.conn.extensions
    assert direct_writer(protocol.send) is None


class Direct:
    """A WebSocket that takes texts directly, but only a limited number of writes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.told: list[Any] = []

    def takes_texts(self) -> bool:
        return self.room > 0

    def write_texts(self, frames: list[str]) -> None:
        self.room -= 1
        self.told.append(frames)

    async def send_frame(self, frame: str | bytes) -> None:
        self.told.append(frame)

    async def close(self, code: int) -> None:
        self.told.append(code)

    def abort(self) -> None:
        raise AssertionError("nothing is lost")


async def written(room: int, *steps: str | bytes | Close) -> list[Any]:
    """Return what a writer does with these steps."""
    waiting = list(steps)
    websocket = Direct(room)
    writer = Writer(
        websocket, lambda _: waiting.pop(0) if waiting else None, lambda _: None
    )
    writer.wake()
    at_once = len(websocket.told)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting
    return [at_once, *websocket.told]


async def test_texts_are_written_at_once_and_the_rest_is_sent_behind_them() -> None:
    assert await written(9, "a", "b") == [1, ["a", "b"]]
    assert await written(9, "a", b"b", "c", Close(1000)) == [1, ["a"], b"b", "c", 1000]
    assert await written(9, Close(1000)) == [0, 1000]
    assert await written(0, "a", "b") == [0, "a", "b"]


async def test_a_buffer_that_fills_up_is_waited_for() -> None:
    long = "x" * MAX_CHARS_AT_ONCE
    assert await written(1, "a", long, "b", "c") == [1, ["a", long], "b", "c"]
