"""One Engine.IO session: packets in, events out; no I/O and no clock of its own.

Whoever owns a session hands it what arrives (`receive_*`), what the transports do
(`start_*`, `open_*`, `lose_*`) and the time (`tick`), and gets events back. After
each call the owner moves what is ready: `take_poll()` for a held GET, `take_frame()`
for the WebSocket that is the transport, `take_probe_frame()` for one that is not yet.

Rules kept here:
 - There is one queue of packets, and exactly one transport drains it.
 - Deadlines are absolute and chained from one another, never from "now": a late
   timer shortens nothing and lengthens nothing.
 - A session ends once; what it ends with is decided by who came first.

Spec: Engine.IO protocol 4, "Heartbeat", "Upgrade", "HTTP long-polling", "WebSocket".
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

from .errors import PacketError
from .events import Closed, CloseReason, Event, MessageReceived, Upgraded
from .handshake import Options, open_packet
from .packet import (
    Packet,
    PacketType,
    byte_length,
    decode_frame,
    encode_frame,
)
from .payload import decode_payload, encode_payload

CLOSE_NORMAL = 1000
CLOSE_TOO_BIG = 1009

_CLOSE = Packet(PacketType.CLOSE)
_NOOP = Packet(PacketType.NOOP)
_PING = Packet(PacketType.PING)
_PROBE_ANSWER = Packet(PacketType.PONG, "probe")


class Link(Enum):
    """Where the session's packets travel."""

    POLLING = auto()
    PROBING = auto()  # polling, with a WebSocket opened beside it
    PROBED = auto()  # the same, after the probe's ping
    WEBSOCKET = auto()


class Phase(Enum):
    """How much life is in the session."""

    OPEN = auto()
    CLOSING = auto()  # ended for the application; a poll may fetch the rest
    CLOSED = auto()


class Signal(Enum):
    """What happens to the transports."""

    PROBE_OPENED = auto()
    PROBE_PINGED = auto()
    PROBE_LOST = auto()
    UPGRADED = auto()


# The upgrade, whole. What is not in the table does not happen.
TRANSITIONS: dict[tuple[Link, Signal], Link] = {
    (Link.POLLING, Signal.PROBE_OPENED): Link.PROBING,
    (Link.PROBING, Signal.PROBE_PINGED): Link.PROBED,
    (Link.PROBED, Signal.PROBE_PINGED): Link.PROBED,
    (Link.PROBING, Signal.PROBE_LOST): Link.POLLING,
    (Link.PROBED, Signal.PROBE_LOST): Link.POLLING,
    (Link.PROBING, Signal.UPGRADED): Link.WEBSOCKET,
    (Link.PROBED, Signal.UPGRADED): Link.WEBSOCKET,
}


Amount = tuple[int, int]  # bytes and number of messages


class Session:
    """The state of one connection across its transports."""

    __slots__ = (
        "_closing_deadline",
        "_confirmed_bytes",
        "_events",
        "_link",
        "_next_ping",
        "_outbox",
        "_phase",
        "_ping_mark",
        "_poll_answer",
        "_poll_held",
        "_poll_mark",
        "_pong_deadline",
        "_post_open",
        "_probe_outbox",
        "_queued_bytes",
        "_sent",
        "_upgrade_deadline",
        "base64_only",
        "close_code",
        "confirmed_messages",
        "options",
        "queued_messages",
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
        """Starts a session whose handshake arrived at `now` by `transport`.

        The open packet is queued at once. `base64_only`: the peer asked for no
        binary frames.
        """
        self.sid = sid
        self.options = options
        self.base64_only = base64_only
        self.close_code = CLOSE_NORMAL
        self.queued_messages = 0
        self.confirmed_messages = 0
        self._link = Link.WEBSOCKET if transport == "websocket" else Link.POLLING
        self._phase = Phase.OPEN
        self._events: list[Event] = []
        self._outbox: deque[Packet] = deque([open_packet(sid, transport, options)])
        self._probe_outbox: list[Packet] = []
        self._poll_held = False
        self._poll_answer: bytes | None = None
        self._post_open = False
        self._next_ping: float | None = now + options.ping_interval_s
        self._pong_deadline: float | None = None
        self._upgrade_deadline: float | None = None
        self._closing_deadline: float | None = None
        self._queued_bytes = 0
        self._confirmed_bytes = 0
        self._sent: Amount = (0, 0)
        self._ping_mark: Amount | None = None
        self._poll_mark: Amount | None = None

    # What the owner may ask.

    @property
    def transport(self) -> str:
        """The present transport: "polling" until an upgrade is complete."""
        return "websocket" if self._link is Link.WEBSOCKET else "polling"

    @property
    def is_open(self) -> bool:
        """True until the session ends for the application."""
        return self._phase is Phase.OPEN

    @property
    def is_closed(self) -> bool:
        """True when the session is to be forgotten."""
        return self._phase is Phase.CLOSED

    @property
    def probe_is_open(self) -> bool:
        """True while a WebSocket is trying to become the transport."""
        return self._phase is not Phase.CLOSED and self._link in (
            Link.PROBING,
            Link.PROBED,
        )

    @property
    def has_frames(self) -> bool:
        """True when `take_frame` has something."""
        return self._link is Link.WEBSOCKET and bool(self._outbox)

    @property
    def has_probe_frames(self) -> bool:
        """True when `take_probe_frame` has something."""
        return bool(self._probe_outbox)

    @property
    def unconfirmed_bytes(self) -> int:
        """Message bytes queued or sent that the peer has not been seen to take.

        A pong, or the next poll, confirms all that was queued before the ping, or
        was in the last answer.
        """
        return self._queued_bytes - self._confirmed_bytes

    @property
    def writable(self) -> bool:
        """False while the peer lags so far that emitters should wait."""
        return self.unconfirmed_bytes <= self.options.high_water_bytes

    @property
    def poll_waits(self) -> bool:
        """True while a GET is held."""
        return self._poll_held

    @property
    def next_deadline(self) -> float | None:
        """When `tick` must be called next, None when there is no reason to."""
        deadlines = [
            deadline
            for deadline in (
                self._next_ping,
                self._pong_deadline,
                self._upgrade_deadline,
                self._closing_deadline,
            )
            if deadline is not None
        ]
        return min(deadlines, default=None)

    # Out.

    def send_message(self, data: str | bytes, now: float) -> list[Event]:
        """Queues a message; dropped when the session is no longer open.

        A peer that lags gets a ping early, since its pong tells what it has taken.
        One that already has more than `max_unconfirmed_bytes` ahead of it is closed.
        """
        if self._phase is not Phase.OPEN:
            return []
        if self.unconfirmed_bytes > self.options.max_unconfirmed_bytes:
            self._end(CloseReason.TRANSPORT_ERROR, slow=True)
            return self._take_events()
        self._outbox.append(Packet(PacketType.MESSAGE, data))
        self._queued_bytes += byte_length(data)
        self.queued_messages += 1
        if not self.writable and self._pong_deadline is None:
            self._ping(now)
        return []

    def close(self, reason: CloseReason, now: float) -> list[Event]:
        """Ends the session from this side.

        What is queued goes out first. A polling peer that has no GET waiting finds
        it, and the close packet, with its next one.
        """
        if self._phase is not Phase.OPEN:
            return []
        if self._link is Link.WEBSOCKET or self._poll_held:
            if self._link is not Link.WEBSOCKET:
                self._poll_answer = self._drain_poll(_CLOSE)
            self._end(reason, keep_queue=self._link is Link.WEBSOCKET)
            return self._take_events()
        self._phase = Phase.CLOSING
        self._next_ping = self._pong_deadline = None
        self._closing_deadline = now + self.options.closing_timeout_s
        self._events.append(Closed(reason))
        return self._take_events()

    def abort(self, reason: CloseReason, *, slow: bool = False) -> list[Event]:
        """Ends the session at once; what is queued is dropped."""
        self._end(reason, slow=slow)
        return self._take_events()

    def take_poll(self) -> bytes | None:
        """The body for the held GET, which is then no longer held; None: wait."""
        if not self._poll_held:
            return None
        if self._poll_answer is None and self._phase is not Phase.CLOSED:
            self._poll_answer = self._next_poll_answer()
        answer, self._poll_answer = self._poll_answer, None
        if answer is not None:
            self._poll_held = False
        return answer

    def take_frame(self) -> str | bytes | None:
        """The next frame for the WebSocket that is the transport."""
        if not self.has_frames:
            return None
        return encode_frame(self._outbox.popleft(), base64_only=self.base64_only)

    def take_probe_frame(self) -> str | bytes | None:
        """The next frame for the WebSocket that is being probed."""
        return encode_frame(self._probe_outbox.pop(0)) if self._probe_outbox else None

    # In: polling.

    def start_poll(self) -> tuple[bool, list[Event]]:
        """A GET has arrived. False: another is held, and that ends the session."""
        if self._poll_held:
            self._fail(CloseReason.TRANSPORT_ERROR)
            return False, self._take_events()
        self._poll_held = True
        self._confirm(self._poll_mark)
        return True, []

    def lose_poll(self) -> list[Event]:
        """The held GET's connection is gone."""
        if self._poll_held:
            self._poll_held = False
            self._end(CloseReason.TRANSPORT_ERROR)
        return self._take_events()

    def start_post(self) -> tuple[bool, list[Event]]:
        """A POST has begun. False: another has not ended; that ends the session."""
        if self._post_open:
            self._fail(CloseReason.TRANSPORT_ERROR)
            return False, self._take_events()
        self._post_open = True
        return True, []

    def lose_post(self) -> list[Event]:
        """The POST is refused, or its connection was lost before its end."""
        self._post_open = False
        self._fail(CloseReason.TRANSPORT_ERROR)
        return self._take_events()

    def receive_payload(self, body: bytes, now: float) -> list[Event]:
        """The whole body of a POST."""
        self._post_open = False
        limit = self.options.max_packets_in_payload
        try:
            for packet in decode_payload(body, max_packets=limit):
                self._receive_packet(packet, now)
        except PacketError:
            self._fail(CloseReason.PARSE_ERROR)
        return self._take_events()

    # In: WebSocket.

    def open_websocket(self, now: float) -> bool:
        """A WebSocket names this session. False: there is one already; close it."""
        if not self.options.allow_upgrades or self._phase is Phase.CLOSED:
            return False
        if not self._move(Signal.PROBE_OPENED):
            return False
        self._upgrade_deadline = now + self.options.upgrade_timeout_s
        return True

    def receive_frame(self, frame: str | bytes, now: float) -> list[Event]:
        """A frame from the WebSocket that is the transport."""
        if byte_length(frame) > self.options.max_payload_bytes:
            self.close_code = CLOSE_TOO_BIG
            self._end(CloseReason.TRANSPORT_ERROR)
            return self._take_events()
        try:
            self._receive_packet(decode_frame(frame), now)
        except PacketError:
            self._fail(CloseReason.PARSE_ERROR)
        return self._take_events()

    def receive_probe_frame(self, frame: str | bytes, now: float) -> list[Event]:
        """A frame from the WebSocket that is being probed."""
        if not self.probe_is_open:
            return []
        if frame == "2probe":
            self._move(Signal.PROBE_PINGED)
            self._probe_outbox.append(_PROBE_ANSWER)
        elif frame == "5":
            self._upgrade(now)
        else:
            self.lose_probe()
        return self._take_events()

    def lose_probe(self) -> None:
        """The probing WebSocket is gone or useless; polling goes on."""
        if self._move(Signal.PROBE_LOST):
            self._upgrade_deadline = None
            self._probe_outbox.clear()

    def lose_websocket(self) -> list[Event]:
        """The WebSocket that is the transport is gone."""
        self._end(CloseReason.TRANSPORT_CLOSE)
        return self._take_events()

    # Time.

    def tick(self, now: float) -> list[Event]:
        """Does what is due."""
        if self._next_ping is not None and now >= self._next_ping:
            self._ping(self._next_ping)
        if self._pong_deadline is not None and now >= self._pong_deadline:
            self._fail(CloseReason.PING_TIMEOUT)
        if self._upgrade_deadline is not None and now >= self._upgrade_deadline:
            self.lose_probe()
        if self._closing_deadline is not None and now >= self._closing_deadline:
            self._end(CloseReason.FORCED_CLOSE)
        return self._take_events()

    # Within.

    def _move(self, signal: Signal) -> bool:
        link = TRANSITIONS.get((self._link, signal))
        if link is None:
            return False
        self._link = link
        return True

    def _receive_packet(self, packet: Packet, now: float) -> None:
        if self._phase is not Phase.OPEN:
            return
        if packet.type is PacketType.MESSAGE:
            self._events.append(MessageReceived(packet.data))
        elif packet.type is PacketType.PONG:
            self._receive_pong(now)
        elif packet.type is PacketType.CLOSE:
            # The stock client does not abort the GET that it has waiting, and the
            # official suite wants this very answer to it.
            self._fail(CloseReason.TRANSPORT_CLOSE, poll_answer=_NOOP)
        elif packet.type is PacketType.PING:
            # In the fourth protocol it is the server that pings.
            self._fail(CloseReason.TRANSPORT_ERROR)

    def _receive_pong(self, now: float) -> None:
        self._pong_deadline = None
        self._next_ping = now + self.options.ping_interval_s
        self._confirm(self._ping_mark)
        if not self.writable:
            self._ping(now)

    def _upgrade(self, now: float) -> None:
        self._release_poll(_NOOP)
        self._move(Signal.UPGRADED)
        self._upgrade_deadline = None
        if self._pong_deadline is not None:
            # The ping may have been lost with the poll that carried it.
            self._pong_deadline = now + self.options.ping_timeout_s
        self._events.append(Upgraded())
        if self._phase is Phase.CLOSING:
            self._phase = Phase.CLOSED
            self._closing_deadline = None

    def _ping(self, due: float) -> None:
        self._outbox.append(_PING)
        self._next_ping = None
        self._pong_deadline = due + self.options.ping_timeout_s
        self._ping_mark = (self._queued_bytes, self.queued_messages)

    def _confirm(self, mark: Amount | None) -> None:
        if mark is not None and mark[1] > self.confirmed_messages:
            self._confirmed_bytes, self.confirmed_messages = mark

    def _next_poll_answer(self) -> bytes | None:
        if self._phase is Phase.CLOSING:
            answer = self._drain_poll(_CLOSE)
            self._end(CloseReason.FORCED_CLOSE)
            return answer
        if self._outbox:
            return encode_payload(self._take_some())
        if self._link is Link.PROBED:
            return encode_payload([_NOOP])
        return None

    def _take_some(self) -> list[Packet]:
        count = min(len(self._outbox), self.options.max_packets_in_answer)
        taken = [self._outbox.popleft() for _ in range(count)]
        messages = [p.data for p in taken if p.type is PacketType.MESSAGE]
        sent_bytes, sent_messages = self._sent
        self._sent = (
            sent_bytes + sum(map(byte_length, messages)),
            sent_messages + len(messages),
        )
        self._poll_mark = self._sent
        return taken

    def _drain_poll(self, last: Packet) -> bytes:
        packets = [*self._outbox, last]
        self._outbox.clear()
        return encode_payload(packets)

    def _release_poll(self, packet: Packet) -> None:
        """Lets a held GET go, with this packet alone."""
        if self._poll_held and self._poll_answer is None:
            self._poll_answer = encode_payload([packet])

    def _fail(self, reason: CloseReason, *, poll_answer: Packet = _CLOSE) -> None:
        """Ends the session for something that the peer did, or did not do."""
        slow = reason is CloseReason.PING_TIMEOUT and not self.writable
        self._release_poll(poll_answer)
        self._end(reason, slow=slow)

    def _end(
        self, reason: CloseReason, *, keep_queue: bool = False, slow: bool = False
    ) -> None:
        if self._phase is Phase.OPEN:
            self._events.append(Closed(reason, slow))
        if not keep_queue:
            self._outbox.clear()
        self._probe_outbox.clear()
        self._phase = Phase.CLOSED
        self._next_ping = self._pong_deadline = None
        self._upgrade_deadline = self._closing_deadline = None

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events
