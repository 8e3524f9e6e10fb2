"""The head of a response, written together with the first piece of its body.

uvicorn writes them one after the other, and the event loop sends each at once: two
system calls and two packets for a response that fits into one.
"""

from __future__ import annotations

import asyncio
from typing import Any

_MOST_JOINED = 64 * 1024  # bytes


class Joined:
    """The transport of one response, whose first write waits for the second.

    It waits for the next pass of the event loop at most: the head of a stream, or a
    `100 Continue`, leaves before there is more. In everything else this is the
    connection's transport.
    """

    __slots__ = ("_first", "_is_begun", "_loop", "_transport")

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._first = b""
        self._is_begun = False

    def write(self, data: bytes) -> None:
        """Write a piece, the second one together with the first."""
        if not self._is_begun:
            self._is_begun = True
            self._first = data
            self._loop.call_soon(self._flush)
            return
        if self._first:
            # A copy of a large piece would cost more than a second write.
            if len(data) <= _MOST_JOINED:
                data = b"".join((self._first, data))
            else:
                self._transport.write(self._first)
            self._first = b""
        self._transport.write(data)

    def close(self) -> None:
        """Close the connection, once all that was written has been sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        # While the connection closes, what follows may still be sent, if the client has
        # yet to take bytes that come before. It must not go without the head.
        if self._first and not self._transport.is_closing():
            first, self._first = self._first, b""
            self._transport.write(first)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
