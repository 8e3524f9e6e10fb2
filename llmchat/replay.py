"""What was sent to a socket and may not have arrived: the memory of a recovery.

Spec: Socket.IO, "Connection state recovery": each event carries an offset as its
last argument, and a client that returns hands back the last one it has seen.
"""

from __future__ import annotations

from collections import deque

MAX_REPLAY_BYTES = 1024 * 1024


class Replay:
    """Events that a client may have missed, by the offset each one carried."""

    __slots__ = ("_base", "_kept", "_last", "_size")

    def __init__(self) -> None:
        self._last = 0
        self._base = 0  # events up to this one are no longer kept
        self._size = 0
        self._kept: deque[tuple[int, int | None, list[str | bytes]]] = deque()

    def next_offset(self) -> str:
        """The offset of the event that is about to be kept."""
        self._last += 1
        return str(self._last)

    def keep(self, messages: list[str | bytes], position: int | None) -> bool:
        """Keeps the event of the last offset. False: there is no room for it.

        `position` is its place among the connection's messages, None while there is
        no connection.
        """
        self._size += sum(map(len, messages))
        self._kept.append((self._last, position, messages))
        return self._size <= MAX_REPLAY_BYTES

    def confirm(self, position: int) -> None:
        """Lets go of what the client has taken."""
        while self._kept:
            offset, place, messages = self._kept[0]
            if place is None or place > position:
                return
            self._base = offset
            self._size -= sum(map(len, messages))
            self._kept.popleft()

    def since(self, offset: str | None) -> list[list[str | bytes]] | None:
        """The events after an offset that a client handed back; None: unknown.

        A client that has not had an event hands back none.
        """
        if offset is None:
            offset = "0"
        if not (offset.isascii() and offset.isdigit() and len(offset) < 16):
            return None
        seen = int(offset)
        if not self._base <= seen <= self._last:
            return None
        return [messages for number, _, messages in self._kept if number > seen]

    def detach(self) -> None:
        """Forgets places among the messages of a connection that has ended."""
        self._kept = deque((number, None, kept) for number, _, kept in self._kept)
