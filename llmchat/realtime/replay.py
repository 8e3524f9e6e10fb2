"""What was sent to a socket and may not have arrived: the memory of a recovery.

Spec: Socket.IO, "Connection state recovery": each event carries an offset as its
last argument, and a client that returns hands back the last one it has seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

MAX_REPLAY_BYTES = 1024 * 1024

Messages = list[str | bytes]


class _Kept:
    """An event: its number, its messages, its place among the connection's."""

    __slots__ = ("messages", "number", "place", "size")

    def __init__(self, number: int, messages: Messages, place: int | None) -> None:
        self.number = number
        self.messages = messages
        self.place = place
        self.size = sum(map(len, messages))


class Replay:
    """Events that a client may have missed, by the offset each one carried."""

    __slots__ = ("_base", "_kept", "_last", "_size")

    def __init__(self) -> None:
        self._last = 0
        self._base = 0  # events up to this one are no longer kept
        self._size = 0
        self._kept: deque[_Kept] | None = None  # most sockets are idle

    def next_offset(self) -> str:
        """The offset of the event that is about to be kept."""
        self._last += 1
        return str(self._last)

    def keep(self, messages: Messages, place: int | None) -> bool:
        """Keeps the event of the last offset. False: there is no room for it.

        `place` is how many messages the connection had been given with it, None
        where it was not sent.
        """
        if self._kept is None:
            self._kept = deque()
        self._kept.append(_Kept(self._last, messages, place))
        self._size += self._kept[-1].size
        return self._size <= MAX_REPLAY_BYTES

    def confirm(self, count: int) -> None:
        """Lets go of what is in the first `count` messages of the connection."""
        while self._kept:
            first = self._kept[0]
            if first.place is None or first.place > count:
                return
            self._let_go()

    def find(self, offset: str | None) -> int | None:
        """The event of an offset that a client handed back; None: unknown.

        A client that has not had an event hands back none.
        """
        if offset is None:
            offset = "0"
        if not (offset.isascii() and offset.isdigit() and len(offset) < 16):
            return None
        number = int(offset)
        return number if self._base <= number <= self._last else None

    def release(self, number: int) -> None:
        """Lets go of the events up to this one: the client has seen them."""
        while self._kept and self._kept[0].number <= number:
            self._let_go()

    def resend(self, send: Callable[[Messages], int | None]) -> None:
        """Sends what is kept, in order; `send` tells its place."""
        for kept in self._kept or ():
            kept.place = send(kept.messages)

    def _let_go(self) -> None:
        assert self._kept is not None
        kept = self._kept.popleft()
        self._base = kept.number
        self._size -= kept.size
        if not self._kept:
            self._kept = None
