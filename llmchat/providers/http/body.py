"""The part of a body that has arrived and was not read yet, within bounds."""

from __future__ import annotations

import asyncio
from typing import Protocol, Self

from llmchat.providers.transport import TransportError

MAX_BUFFERED_BYTES = 256 * 1024


class Flow(Protocol):
    """The connection that a body comes from."""

    def pause(self) -> None:
        """Stop reading from the peer for now."""

    def resume(self) -> None:
        """Read from the peer again."""

    def abort(self) -> None:
        """Close immediately."""


class ReceivedBody:
    """A body that one task reads while it arrives.

    While more than `MAX_BUFFERED_BYTES` wait to be read, the peer has to wait.
    """

    __slots__ = ("_error", "_flow", "_loop", "_pieces", "_size", "_waiter")

    def __init__(self, flow: Flow, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._flow: Flow | None = flow  # None once the body is over
        self._error: TransportError | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None

    def receive(self, piece: bytes) -> None:
        """Take the next piece, not empty."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > MAX_BUFFERED_BYTES and self._flow is not None:
            self._flow.pause()
        self._wake()

    def end(self, error: TransportError | None = None) -> None:
        """Note that nothing more will come; `error` says why, if the body broke off."""
        self._flow = None
        self._error = error
        self._wake()

    def is_over(self) -> bool:
        """Whether the body is over, complete or not."""
        return self._flow is None

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return what has arrived, never empty.

        Raises:
            TransportError: the body broke off.
        """
        while not self._pieces:
            if self._flow is None:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._waiter = self._loop.create_future()
            await self._waiter
        pieces, size = self._pieces, self._size
        self._pieces, self._size = [], 0
        if size > MAX_BUFFERED_BYTES and self._flow is not None:
            self._flow.resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def aclose(self) -> None:
        """Discard the rest, and close the connection unless all has arrived."""
        self._pieces.clear()
        if self._flow is not None:
            self._flow.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
