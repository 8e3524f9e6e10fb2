"""What was sent to a socket and may not have arrived: the memory of a recovery.

It knows events by their offsets and nothing of connections, so it may be handed on
from one to the next.

Spec: Socket.IO, "Connection state recovery": each event carries an offset as its
last argument, and a client that returns hands back the last one it has seen.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from .engineio.packet import byte_length

MAX_REPLAY_BYTES = 1024 * 1024

Messages = list[str | bytes]


class Kept(NamedTuple):
    """One event: its offset as a number, and the messages that carry it."""

    number: int
    messages: Messages

    @property
    def size(self) -> int:
        """Return how much of the limit it takes."""
        return sum(map(byte_length, self.messages))


class Replay:
    """Events that a client may have missed, by the offset each one carried."""

    __slots__ = ("_base", "_kept", "_last", "_size")

    def __init__(self) -> None:
        self._last = 0
        self._base = 0  # events up to this one are no longer kept
        self._size = 0
        self._kept: deque[Kept] | None = None  # most sockets are idle

    @property
    def is_full(self) -> bool:
        """Return whether more is kept than is allowed."""
        return self._size > MAX_REPLAY_BYTES

    @property
    def events(self) -> list[Kept]:
        """Return what is kept, in order."""
        return list(self._kept or ())

    def next_offset(self) -> str:
        """Return the offset of the event that is about to be kept."""
        self._last += 1
        return str(self._last)

    def keep(self, messages: Messages) -> int:
        """Keep the event of the last offset; return that as a number."""
        if self._kept is None:
            self._kept = deque()
        kept = Kept(self._last, messages)
        self._kept.append(kept)
        self._size += kept.size
        return self._last

    def find(self, offset: str | None) -> int | None:
        """Return the event of an offset that a client handed back; None: unknown.

        A client that has not had an event hands back none.
        """
        if offset is None:
            offset = "0"
        if not (offset.isascii() and offset.isdigit() and len(offset) < 16):
            return None
        number = int(offset)
        return number if self._base <= number <= self._last else None

    def confirm(self, number: int) -> None:
        """Forget the events up to this one: the client has them."""
        while self._kept and self._kept[0].number <= number:
            kept = self._kept.popleft()
            self._base = kept.number
            self._size -= kept.size
        if not self._kept:
            self._kept = None
