"""What waits for one peer, and how much of it the peer has confirmed.

Each session has one outbox, and exactly one transport drains it. Control packets
overtake messages: if a ping had to wait behind a megabyte, a healthy peer would seem
dead. Messages keep their order.

A peer confirms what it has taken in two ways: its next poll confirms the last answer to
a poll, and its pong confirms everything that was sent before the ping.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from .packet import Packet, PacketType, byte_length

PING = Packet(PacketType.PING)


class Amount(NamedTuple):
    """How much of the message stream, counted from its beginning."""

    size: int = 0  # bytes
    messages: int = 0


_NOTHING = Amount()


class Outbox:
    """The packets of one session that are on their way out."""

    __slots__ = (
        "_confirmed",
        "_control",
        "_messages",
        "_ping_mark",
        "_poll_mark",
        "_queued_bytes",
        "_sent_bytes",
        "_sent_messages",
    )

    def __init__(self, first: Packet) -> None:
        """`first` goes before everything else."""
        self._control = [first]
        self._messages: deque[str | bytes] | None = None  # most sessions are idle
        self._queued_bytes = self._sent_bytes = self._sent_messages = 0
        self._confirmed = self._ping_mark = self._poll_mark = _NOTHING

    def __bool__(self) -> bool:
        return bool(self._control or self._messages)

    @property
    def unconfirmed_bytes(self) -> int:
        """Return the message bytes that the peer has not confirmed."""
        return self._queued_bytes - self._confirmed.size

    @property
    def confirmed_messages(self) -> int:
        """Return how many messages the peer has confirmed."""
        return self._confirmed.messages

    def put_message(self, message: str | bytes) -> None:
        """Queue a message.

        Raises:
            UnicodeEncodeError: a text with half of a surrogate pair.
        """
        self._queued_bytes += byte_length(message)
        if self._messages is None:
            self._messages = deque()
        self._messages.append(message)

    def note_passed(self, size: int, count: int) -> None:
        """Count messages that are sent without having waited here."""
        self._queued_bytes += size
        self._sent_bytes += size
        self._sent_messages += count

    def put_ping(self) -> None:
        """Queue a ping, unless one is waiting already."""
        if not self.ping_waits:
            self._control.append(PING)

    @property
    def ping_waits(self) -> bool:
        """Return whether a ping is to be sent."""
        return PING in self._control

    def take(self) -> Packet | None:
        """Return the next packet; None: there is none."""
        if self._control:
            packet = self._control.pop(0)
            if packet is PING:
                self._ping_mark = self._sent
            return packet
        message = self.take_message()
        return None if message is None else Packet(PacketType.MESSAGE, message)

    def take_message(self) -> str | bytes | None:
        """Return the next packet's message; None: it has none, or no packet waits."""
        if self._control or not self._messages:
            return None
        message = self._messages.popleft()
        if not self._messages:
            self._messages = None
        self._sent_bytes += byte_length(message)
        self._sent_messages += 1
        return message

    def take_some(self, limit: int) -> list[Packet]:
        """Return the packets for one answer to a poll, no more than `limit`."""
        taken: list[Packet] = []
        while len(taken) < limit and (packet := self.take()) is not None:
            taken.append(packet)
        self._poll_mark = self._sent
        return taken

    def take_messages(self) -> list[str | bytes]:
        """Remove and return the messages that wait."""
        messages, self._messages = self._messages, None
        return list(messages or ())

    def confirm_poll(self) -> None:
        """Confirm the last answer to a poll, since the peer polls again."""
        self._confirm(self._poll_mark)

    def confirm_ping(self) -> None:
        """Confirm all that was sent before the last ping."""
        self._confirm(self._ping_mark)

    def clear(self) -> None:
        """Drop what waits."""
        self._control.clear()
        self._messages = None

    @property
    def _sent(self) -> Amount:
        return Amount(self._sent_bytes, self._sent_messages)

    def _confirm(self, mark: Amount) -> None:
        if mark.messages > self._confirmed.messages:
            self._confirmed = mark
