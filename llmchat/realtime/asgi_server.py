"""What ASGI has no message for, but uvicorn and daphne can do.

Everything that is known about their internals is in this file. uvicorn's `send` is a
method of its protocol, daphne's a partial that holds it. Nothing is known about other
servers, which is logged once; whatever is to be done is then left to the server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

logger = logging.getLogger(__name__)

CLOSE_NORMAL = 1000
# How long a closed WebSocket may take to send what the server has buffered.
CLOSE_TIMEOUT_S = 5.0

_OPEN = 1  # the state of an open WebSocket in the library that uvicorn uses
_FRAMES_STATE = ("state", "writes", "extensions", "expect_continuation_frame", "debug")


def abort(send: Any) -> None:
    """Drop a connection, with what the server has buffered for it."""
    transport = _transport_of(send)
    for name in ("abort", "abortConnection"):  # asyncio's word and Twisted's
        drop = getattr(transport, name, None)
        if drop is not None:
            drop()
            return


def is_closing(send: Any) -> bool:
    """Return whether a connection is lost, though no message has said so yet."""
    ask = getattr(_transport_of(send), "is_closing", None)
    return ask is not None and bool(ask())


async def close_websocket(send: Callable[..., Awaitable[None]], code: int) -> None:
    """Close a WebSocket in order; drop it if the client no longer takes anything."""
    protocol = _protocol_of(send)
    send_close = getattr(protocol, "sendCloseFrame", None)
    if send_close is not None and code != CLOSE_NORMAL:
        # Through `send`, daphne accepts only the codes that are for applications.
        send_close(code=code)
        return
    await send({"type": "websocket.close", "code": code})
    transport = getattr(protocol, "transport", None)
    buffered = getattr(transport, "get_write_buffer_size", None)
    if transport is not None and buffered is not None and buffered():
        # Otherwise asyncio would wait for as long as the system does.
        loop = asyncio.get_running_loop()
        loop.call_later(CLOSE_TIMEOUT_S, transport.abort)


def forget_handshake(send: Any) -> None:
    """Free the headers of a WebSocket's handshake, which uvicorn keeps until its end.

    uvicorn holds them three times; with their containers they take as much memory as
    everything else that an idle socket needs. There is no request if `websockets` has
    not parsed it.
    """
    protocol = _protocol_of(send)
    response = getattr(protocol, "response", None)
    if response is None:
        return
    response.headers.clear()
    protocol.scope["headers"].clear()
    if (request := getattr(protocol, "request", None)) is not None:
        request.headers.clear()


def direct_writer(send: Any) -> Any:
    """Return what `write_texts` writes to; None: `send` is the only way.

    That is uvicorn's protocol, if it makes its frames with the library known here.
    """
    protocol = getattr(send, "__self__", None)
    known = all(hasattr(protocol, name) for name in ("conn", "transport", "writable"))
    frames = getattr(protocol, "conn", None)
    if known and all(hasattr(frames, name) for name in _FRAMES_STATE):
        return protocol
    return None


def takes_texts(protocol: Any) -> bool:
    """Return whether `write_texts` would do what `send` does, without waiting.

    It would not if the client's buffer is full, if the connection is ending, or if
    frames are more than a header and their text.
    """
    frames = protocol.conn
    return (
        protocol.writable.is_set()
        and frames.state == _OPEN
        and not frames.writes
        and not frames.extensions
        and not frames.expect_continuation_frame
        and not frames.debug
        and not protocol.transport.is_closing()
    )


def write_texts(protocol: Any, texts: list[str]) -> None:
    """Write text frames immediately; only allowed while `takes_texts` is true."""
    protocol.transport.write(b"".join(map(_text_frame, texts)))


def _text_frame(text: str) -> bytes:
    """Return the frame of a text from a server: RFC 6455, 5.2."""
    data = text.encode()
    size = len(data)
    if size < 126:
        return b"\x81%c%b" % (size, data)
    if size < 65536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2), data)
    return b"\x81\x7f%b%b" % (size.to_bytes(8), data)


class FlowGate:
    """Flow control for daphne, whose `send` never waits; elsewhere always open.

    In Twisted's terms it is a push producer, which is notified when it has to pause.
    """

    def __init__(self, send: Any) -> None:
        protocol = _protocol_of(send)
        self._request = protocol if hasattr(protocol, "registerProducer") else None
        self._open = asyncio.Event()
        self._open.set()
        if self._request is not None:
            self._request.registerProducer(self, True)

    async def wait(self) -> None:
        """Wait until the client has taken what is buffered for it."""
        await self._open.wait()

    def close(self) -> None:
        """Stop; a request of Twisted's must not end with a producer."""
        request, self._request = self._request, None
        if request is not None and request.channel is not None:
            request.unregisterProducer()

    def pauseProducing(self) -> None:  # noqa: N802  # Twisted's name
        """Called when the client's buffer is full."""
        self._open.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        """Called when the client's buffer is empty."""
        self._open.set()

    def stopProducing(self) -> None:  # noqa: N802
        """Called when the connection is lost."""
        self._open.set()


def _protocol_of(send: Any) -> Any:
    """Return the server's object behind a `send`; None: the server is not known."""
    arguments = getattr(send, "args", None)
    protocol = arguments[0] if arguments else getattr(send, "__self__", None)
    if hasattr(protocol, "transport"):
        return protocol
    kind = type(send if protocol is None else protocol)
    _report_unknown(f"{kind.__module__}.{kind.__qualname__}")
    return None


def _transport_of(send: Any) -> Any:
    return getattr(_protocol_of(send), "transport", None)


@cache
def _report_unknown(kind: str) -> None:
    logger.warning("unknown ASGI server (%s): slow clients cannot be dropped", kind)
