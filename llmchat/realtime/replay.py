"""What was sent to a socket and may not have arrived: the memory of a recovery.

It knows events by their offsets and knows nothing about connections, so it can be
handed on from one connection to the next.

Spec: Socket.IO, "Connection state recovery": each event carries an offset as its
last argument, and a client that returns hands back the last one it has seen.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Self

from .engineio.packet import byte_length

MAX_REPLAY_BYTES = 1024 * 1024
# Above it, code that emits to an absent client should wait.
HIGH_WATER_BYTES = MAX_REPLAY_BYTES // 2
# The limit for vital events, which are kept when the rest is dropped. A client that
# returns gets all of them together, so they must be less than what closes a connection
# for being slow.
MAX_VITAL_BYTES = MAX_REPLAY_BYTES // 2
# A recreated socket counts its events from one of the next multiples of this, because
# what is left of it on another worker continues with its own numbers. Two workers that
# recreate it after the same event, without knowing of each other, hardly ever choose
# the same multiple. A new socket for a client that had another one counts from the next
# multiple: the client hands back the old socket's offset until it gets an event.
NUMBERS = 10**9
_AHEAD = 1_000
# Shortening gains nothing if an event is no longer than this.
SHORT_BYTES = 1024

Messages = list[str | bytes]
Shorten = Callable[[Messages], Messages]


class Kept(NamedTuple):
    """One event: its offset as a number, and the messages that carry it."""

    number: int
    messages: Messages
    size: int
    is_vital: bool


class Replay:
    """Events that a client may have missed, by the offset each one carried.

    When there are too many, only the vital ones are kept, and the oldest of these are
    shortened if they are too long. A client that missed any of the others gets the
    vital ones, and must be informed that it missed something.
    """

    __slots__ = ("_base", "_kept", "_last", "_size", "before", "confirmed")

    def __init__(self) -> None:
        self._last = 0
        # What its client had when the socket was recreated, from another worker.
        self.before = 0
        # The last event that its client is known to have.
        self.confirmed = 0
        self._base = 0  # events up to this one are no longer kept
        self._size = 0
        self._kept: deque[Kept] | None = None  # most sockets are idle

    @property
    def is_full(self) -> bool:
        """Return whether more is kept than is allowed."""
        return self._size > MAX_REPLAY_BYTES

    @property
    def size(self) -> int:
        """Return how many bytes are kept, as they would be sent."""
        return self._size

    @property
    def lags(self) -> bool:
        """Return whether so much is kept that emitters should wait."""
        return self._size > HIGH_WATER_BYTES

    @property
    def events(self) -> list[Kept]:
        """Return what is kept, in order."""
        return list(self._kept or ())

    def next_offset(self) -> str:
        """Return the offset of the event that is about to be kept."""
        self._last += 1
        return str(self._last)

    def keep(self, messages: Messages, *, is_vital: bool = False) -> int:
        """Keep the event with the last offset; return that as a number."""
        if self._kept is None:
            self._kept = deque()
        size = _size(messages)
        self._kept.append(Kept(self._last, messages, size, is_vital))
        self._size += size
        return self._last

    def shed(self, shorten: Shorten) -> None:
        """Drop all but the vital events; shorten the oldest if they are too long.

        The last one stays as it is. If even shortened ones take too much room, which no
        application should let happen, the oldest are dropped.
        """
        vital = deque(kept for kept in self._kept or () if kept.is_vital)
        size = sum(kept.size for kept in vital)
        room = MAX_VITAL_BYTES + (vital[-1].size if vital else 0)
        for at in range(len(vital) - 1):
            if size <= room:
                break
            short = _shortened(vital[at], shorten)
            size += short.size - vital[at].size
            vital[at] = short
        while size > room:
            size -= vital.popleft().size
        self._size = size
        self._kept = vital or None
        self._base = self._last

    def knows(self, number: int) -> bool:
        """Return whether a client can have the events up to this one; 0: none."""
        if number > self._last:
            return False
        is_own = series_of(number) == self.series
        return is_own or number in (0, self._base, self.before)

    def covers(self, number: int) -> bool:
        """Return whether all events after this one are kept."""
        return number >= self._base

    def hand_over(self) -> list[Any]:
        """Return what `Replay.taken_over` needs on another worker."""
        kept = [[k.number, k.messages, k.is_vital] for k in self._kept or ()]
        return [self._last, self._base, kept]

    @classmethod
    def taken_over(cls, state: list[Any]) -> Self:
        """Return the replay that another worker handed over."""
        replay = cls()
        replay._last, replay._base, kept = state
        replay._kept = deque(
            Kept(number, messages, _size(messages), is_vital)
            for number, messages, is_vital in kept
        )
        replay._size = sum(entry.size for entry in replay._kept)
        return replay

    def begin_behind(self, number: int) -> None:
        """Begin with numbers above those of the client's former socket."""
        self._last = (series_of(number) + 1) * NUMBERS

    def begin_at(self, number: int) -> None:
        """Continue after an event that another worker sent.

        That worker may be alive after all and send more, with numbers unlike these.
        """
        self._base = self.before = number
        ahead = 1 + secrets.randbelow(_AHEAD)
        self._last = (series_of(number) + ahead) * NUMBERS

    @property
    def series(self) -> int:
        """Return from which multiple of `NUMBERS` its events are counted."""
        return series_of(self._last)

    @property
    def last(self) -> int:
        """Return the number of the last event."""
        return self._last

    def confirm(self, number: int) -> None:
        """Forget the events up to this one: the client has them."""
        self.confirmed = max(self.confirmed, number)
        while self._kept and self._kept[0].number <= number:
            kept = self._kept.popleft()
            self._base = max(self._base, kept.number)
            self._size -= kept.size
        if not self._kept:
            self._kept = None


def series_of(number: int) -> int:
    """Return from which multiple of `NUMBERS` an event was counted."""
    return number // NUMBERS


def _size(messages: Messages) -> int:
    if len(messages) == 1:
        return byte_length(messages[0])
    return sum(map(byte_length, messages))


def _shortened(kept: Kept, shorten: Shorten) -> Kept:
    if kept.size <= SHORT_BYTES:
        return kept
    messages = shorten(kept.messages)
    return kept._replace(messages=messages, size=_size(messages))
