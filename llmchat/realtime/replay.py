"""What was sent to a socket and may not have arrived: the memory of a recovery.

It knows events by their offsets and knows nothing about connections, so it can be
handed on from one connection to the next.

Spec: Socket.IO, "Connection state recovery": each event carries an offset as its
last argument, and a client that returns hands back the last one it has seen.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Sequence
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


# The messages of one event; nearly always it is only one.
Content = str | bytes | tuple[str | bytes, ...]


class Kept(NamedTuple):
    """One event: its offset as a number, and the messages that carry it."""

    number: int
    messages: Messages
    size: int
    is_vital: bool


class _Events:
    """The events that are kept, in order; `vital` are the numbers of some of them.

    They have no object for each event: a garbage collection looks at every object that
    can hold others, and with hundreds of streams there are hundreds of thousands of
    events, so it would stop all streams for a while.
    """

    __slots__ = ("contents", "numbers", "vital")

    def __init__(self) -> None:
        self.numbers: deque[int] = deque()
        self.contents: deque[Content] = deque()
        self.vital: set[int] = set()

    def add(self, number: int, content: Content, *, is_vital: bool) -> None:
        """Add the latest event."""
        self.numbers.append(number)
        self.contents.append(content)
        if is_vital:
            self.vital.add(number)

    def remove_first(self) -> int:
        """Remove the oldest event; return its size."""
        self.vital.discard(self.numbers.popleft())
        return _size(self.contents.popleft())

    def listed(self) -> list[Kept]:
        """Return all of them."""
        return [
            Kept(number, _messages(content), _size(content), number in self.vital)
            for number, content in zip(self.numbers, self.contents, strict=True)
        ]


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
        self._kept: _Events | None = None  # most sockets are idle

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
        return self._kept.listed() if self._kept is not None else []

    def next_offset(self) -> str:
        """Return the offset of the event that is about to be kept."""
        self._last += 1
        return str(self._last)

    def keep(self, content: Content, *, is_vital: bool = False) -> int:
        """Keep the event with the last offset; return that as a number."""
        self._add(self._last, content, is_vital=is_vital)
        return self._last

    def _add(self, number: int, content: Content, *, is_vital: bool) -> None:
        size = _size(content)
        if self._kept is None:
            self._kept = _Events()
        self._kept.add(number, content, is_vital=is_vital)
        self._size += size

    def shed(self, shorten: Shorten) -> None:
        """Drop all but the vital events; shorten the oldest if they are too long.

        The last one stays as it is. If even shortened ones take too much room, which no
        application should let happen, the oldest are dropped.
        """
        vital = deque(kept for kept in self.events if kept.is_vital)
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
        self._kept, self._size = None, 0
        for kept in vital:
            self._add(kept.number, content_of(kept.messages), is_vital=True)
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
        kept = [[one.number, one.messages, one.is_vital] for one in self.events]
        return [self._last, self._base, kept]

    @classmethod
    def taken_over(cls, state: list[Any]) -> Self:
        """Return the replay that another worker handed over."""
        replay = cls()
        replay._last, replay._base, kept = state
        for number, messages, is_vital in kept:
            replay._add(number, content_of(messages), is_vital=is_vital)
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
        kept = self._kept
        if kept is None:
            return
        while kept.numbers and kept.numbers[0] <= number:
            self._base = max(self._base, kept.numbers[0])
            self._size -= kept.remove_first()
        if not kept.numbers:
            self._kept = None


def series_of(number: int) -> int:
    """Return from which multiple of `NUMBERS` an event was counted."""
    return number // NUMBERS


def content_of(messages: Sequence[str | bytes]) -> Content:
    """Return the messages of one event as they are kept."""
    return messages[0] if len(messages) == 1 else tuple(messages)


def _messages(content: Content) -> Messages:
    return list(content) if isinstance(content, tuple) else [content]


def _size(content: Content) -> int:
    if isinstance(content, tuple):
        return sum(map(byte_length, content))
    return byte_length(content)


def _shortened(kept: Kept, shorten: Shorten) -> Kept:
    if kept.size <= SHORT_BYTES:
        return kept
    messages = shorten(kept.messages)
    return kept._replace(messages=messages, size=_size(content_of(messages)))
