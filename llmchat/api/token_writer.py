"""The last step of a token: to a client that may be slower than its provider."""

from __future__ import annotations

import asyncio

from llmchat.answers.events import Token
from llmchat.api.wire import NAMES, payload
from llmchat.realtime import Socket

# Beyond it the provider is read no further until the client has caught up.
MAX_MERGED_CHARS = 16 * 1024

_TOKEN = NAMES[Token]


class TokenWriter:
    """Sends the tokens of one stream; those of a client that lags are merged.

    Neighbours become one event. Order and text never change.
    """

    __slots__ = ("_chars", "_flushing", "_merged", "_session_id", "_socket")

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._session_id = ""
        self._merged: list[str] = []
        self._chars = 0
        self._flushing: asyncio.Task[None] | None = None

    async def write(self, token: Token) -> None:
        """Send a token now, or keep it for later; wait where too much is kept."""
        if not self._merged and self._socket.writable:
            self._socket.emit(_TOKEN, payload(token))
            return
        self._session_id = token.session_id
        self._merged.append(token.text)
        self._chars += len(token.text)
        if self._flushing is None:
            self._flushing = self._socket.spawn(self._flush_when_drained())
        if self._chars > MAX_MERGED_CHARS:
            await asyncio.wait([self._flushing])

    def flush(self) -> None:
        """Send what was kept; called before anything else is sent."""
        if self._merged:
            text = "".join(self._merged)
            self._merged.clear()
            self._chars = 0
            self._socket.emit(_TOKEN, payload(Token(self._session_id, text)))

    async def _flush_when_drained(self) -> None:
        await self._socket.drain()
        self._flushing = None
        self.flush()
