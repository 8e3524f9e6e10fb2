"""What a session consists of, and how it ends.

The rules that change it are in `session`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from .events import Closed, CloseReason, Event
from .handshake import Options, open_packet
from .heartbeat import Heartbeat
from .outbox import Outbox
from .packet import Packet, PacketType
from .polling import Polling
from .upgrade import Upgrade

CLOSE_NORMAL = 1000

CLOSE = Packet(PacketType.CLOSE)
NOOP = Packet(PacketType.NOOP)


class Phase(Enum):
    """How far the session is from its end."""

    OPEN = auto()
    CLOSING = auto()  # ended for the application; a poll may fetch the rest
    CLOSED = auto()


class SessionState:
    """What every part of the session's protocol reads, and how a session ends."""

    __slots__ = (
        "_closing_deadline",
        "_events",
        "_heartbeat",
        "_outbox",
        "_payload",
        "_phase",
        "_polling",
        "_upgrade",
        "base64_only",
        "close_code",
        "options",
        "sid",
    )

    def __init__(
        self,
        sid: str,
        transport: str,
        now: float,
        options: Options,
        *,
        base64_only: bool = False,
    ) -> None:
        """Start a session whose handshake arrived at `now` by `transport`.

        The open packet is queued immediately. `base64_only`: the client asked not to
        get binary frames.
        """
        self.sid = sid
        self.options = options
        self.base64_only = base64_only
        self.close_code = CLOSE_NORMAL
        self._upgrade = Upgrade(transport, options.upgrade_timeout_s)
        self._phase = Phase.OPEN
        self._events: list[Event] = []
        self._outbox = Outbox(open_packet(sid, transport, options))
        self._heartbeat = Heartbeat(
            now, options.ping_interval_s, options.ping_timeout_s
        )
        self._polling = Polling()
        self._payload: Iterator[Packet] | None = None  # what is left of it
        self._closing_deadline: float | None = None

    @property
    def transport(self) -> str:
        """Return the transport: "polling" until an upgrade is complete."""
        return "websocket" if self._upgrade.is_complete else "polling"

    @property
    def is_open(self) -> bool:
        """Return whether the session has not ended for the application."""
        return self._phase is Phase.OPEN

    @property
    def is_closing(self) -> bool:
        """Return whether it has ended, and a poll may fetch what is left."""
        return self._phase is Phase.CLOSING

    @property
    def is_closed(self) -> bool:
        """Return whether no request can use the session any more."""
        return self._phase is Phase.CLOSED

    @property
    def probe_is_open(self) -> bool:
        """Return whether a WebSocket is trying to become the transport."""
        return self._phase is not Phase.CLOSED and self._upgrade.is_probing

    @property
    def payload_waits(self) -> bool:
        """Return whether a payload has more packets to take in."""
        return self._payload is not None

    @property
    def unconfirmed_bytes(self) -> int:
        """Return the message bytes that the client has not confirmed."""
        return self._outbox.unconfirmed_bytes

    @property
    def confirmed_messages(self) -> int:
        """Return how many messages the client has confirmed."""
        return self._outbox.confirmed_messages

    @property
    def writable(self) -> bool:
        """Return whether emitters may continue; if not, that is backpressure."""
        return self.unconfirmed_bytes <= self.options.high_water_bytes

    @property
    def next_deadline(self) -> float | None:
        """Return when `tick` must be called next, None for never."""
        deadline = self._heartbeat.deadline
        for other in (self._upgrade.deadline, self._closing_deadline):
            if other is not None and (deadline is None or other < deadline):
                deadline = other
        return deadline

    # Another worker.

    @property
    def may_move(self) -> bool:
        """Return whether it is open and polls, and no POST is under way."""
        is_polling = self._phase is Phase.OPEN and not self._upgrade.is_complete
        return is_polling and self._payload is None and not self._polling.post_open

    def until_ping(self, now: float) -> float | None:
        """Return in how many seconds to ping; None: a ping was sent, without a pong."""
        return 0.0 if self._outbox.ping_waits else self._heartbeat.until_ping(now)

    def hand_over(self) -> list[str | bytes]:
        """End here without a close packet; return the messages that wait to be sent.

        A held GET is answered as it is by an upgrade.
        """
        messages = self._outbox.take_messages()
        self._outbox.clear()
        self._polling.answer([NOOP])
        self._phase = Phase.CLOSED
        self._heartbeat.stop()
        self._upgrade.stop()
        self._closing_deadline = None
        return messages

    def take_over(
        self, messages: list[str | bytes], ping_in_s: float | None, now: float
    ) -> None:
        """Continue where another worker stopped: the client has its open packet.

        The client's time since its last ping kept running. The pong to a ping that the
        other worker sent confirms nothing that is sent here.
        """
        self._outbox.clear()
        self._heartbeat.ping_in(ping_in_s, now)
        for message in messages:
            self._outbox.put_message(message)

    def _end(
        self,
        reason: CloseReason,
        *,
        poll_answer: Packet = CLOSE,
        keep_queue: bool = False,
        slow: bool = False,
    ) -> None:
        """End the session once; `reason` is reported if it was open."""
        if self._phase is Phase.CLOSED:
            return
        if self._phase is Phase.OPEN:
            self._events.append(Closed(reason, slow))
        self._phase = Phase.CLOSED
        self._polling.answer([poll_answer])
        if not keep_queue:
            self._outbox.clear()
        self._heartbeat.stop()
        self._upgrade.stop()
        self._closing_deadline = None

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events
