"""One Engine.IO session: packets in, events out; no I/O and no clock of its own.

Whoever owns a session hands it what arrives (`receive_*`), what the transports do
(`start_*`, `open_*`, `lose_*`) and the time (`tick`), and gets events back. After
each call the owner moves what is ready: `take_poll()` for a held GET, `take_frame()`
for the WebSocket that is the transport, `take_probe_frame()` for one that is not yet.

Rules kept here:
 - There is one queue of packets, and exactly one transport drains it.
 - A session ends once; what it ends with is decided by who came first.
 - Whatever ends it, a GET that is held is let go.
 - Nothing that a peer does raises an exception.

Spec: Engine.IO protocol 4, "Heartbeat", "Upgrade", "HTTP long-polling", "WebSocket".
"""

from __future__ import annotations

from enum import Enum, auto

from .errors import PacketError
from .events import Closed, CloseReason, Event, MessageReceived, Upgraded
from .handshake import Options, open_packet
from .heartbeat import Heartbeat
from .outbox import Outbox
from .packet import Packet, PacketType, byte_length, decode_frame, encode_frame
from .payload import decode_payload, encode_payload
from .upgrade import Link, Upgrade

CLOSE_NORMAL = 1000
CLOSE_TOO_BIG = 1009

PROBE_PING = "2probe"
PROBE_PONG = "3probe"
PROBE_UPGRADE = "5"

_CLOSE = Packet(PacketType.CLOSE)
_NOOP = Packet(PacketType.NOOP)


class Phase(Enum):
    """How much life is in the session."""

    OPEN = auto()
    CLOSING = auto()  # ended for the application; a poll may fetch the rest
    CLOSED = auto()


class Session:
    """The state of one connection across its transports."""

    __slots__ = (
        "_closing_deadline",
        "_events",
        "_heartbeat",
        "_outbox",
        "_phase",
        "_poll_answer",
        "_poll_held",
        "_post_open",
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
        """Starts a session whose handshake arrived at `now` by `transport`.

        The open packet is queued at once. `base64_only`: the peer asked for no
        binary frames.
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
        self._poll_held = False
        self._poll_answer: bytes | None = None
        self._post_open = False
        self._closing_deadline: float | None = None

    # What the owner may ask.

    @property
    def transport(self) -> str:
        """The present transport: "polling" until an upgrade is complete."""
        return "websocket" if self._upgrade.is_complete else "polling"

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
        return self._phase is not Phase.CLOSED and self._upgrade.is_probing

    @property
    def has_frames(self) -> bool:
        """True when `take_frame` has something."""
        return self._upgrade.is_complete and (
            self._upgrade.pong_waits or bool(self._outbox)
        )

    @property
    def has_probe_frames(self) -> bool:
        """True when `take_probe_frame` has something."""
        return self._upgrade.pong_waits

    @property
    def unconfirmed_bytes(self) -> int:
        """Message bytes queued or sent that the peer has not been seen to take."""
        return self._outbox.unconfirmed_bytes

    @property
    def queued_messages(self) -> int:
        """How many messages were ever queued."""
        return self._outbox.queued_messages

    @property
    def confirmed_messages(self) -> int:
        """How many of these the peer has been seen to take."""
        return self._outbox.confirmed_messages

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
        deadlines = (
            self._heartbeat.deadline,
            self._upgrade.deadline,
            self._closing_deadline,
        )
        return min((d for d in deadlines if d is not None), default=None)

    # Out.

    def send_message(self, data: str | bytes, now: float) -> list[Event]:
        """Queues a message; dropped when the session is no longer open.

        A WebSocket's peer that lags gets a ping early, since its pong tells what it
        has taken. A peer that already has more than `max_unconfirmed_bytes` ahead of
        it is closed. Polling has no way to carry a text with U+001E, its separator;
        JSON escapes it.

        Raises:
            UnicodeEncodeError: a text with half of a surrogate pair.
        """
        if self._phase is not Phase.OPEN:
            return []
        if self.unconfirmed_bytes > self.options.max_unconfirmed_bytes:
            self._end(CloseReason.TRANSPORT_ERROR, slow=True)
            return self._take_events()
        self._outbox.put_message(data)
        self._ping_early(now)
        return []

    def close(self, reason: CloseReason, now: float) -> list[Event]:
        """Ends the session from this side.

        What is queued goes out first. A polling peer finds it, and the close packet,
        with the GET that it has waiting or with its next one; if a probe succeeds
        before that, by the WebSocket.
        """
        if self._phase is not Phase.OPEN:
            return []
        if self._upgrade.is_complete:
            self._end(reason, keep_queue=True)
            return self._take_events()
        self._phase = Phase.CLOSING
        self._heartbeat.stop()
        self._closing_deadline = now + self.options.closing_timeout_s
        return [Closed(reason)]

    def abort(self, reason: CloseReason, *, slow: bool = False) -> list[Event]:
        """Ends the session at once; what is queued is dropped."""
        self._end(reason, slow=slow)
        self._outbox.clear()
        return self._take_events()

    def take_poll(self) -> bytes | None:
        """The body for the held GET, which is then no longer held; None: wait."""
        if not self._poll_held:
            return None
        answer = self._poll_answer or self._next_poll_answer()
        self._poll_answer = None
        self._poll_held = answer is None
        return answer

    def take_frame(self) -> str | bytes | None:
        """The next frame for the WebSocket that is the transport."""
        if not self._upgrade.is_complete:
            return None
        if self._upgrade.pong_waits:
            return self.take_probe_frame()
        packet = self._outbox.take()
        if packet is None:
            return None
        return encode_frame(packet, base64_only=self.base64_only)

    def take_probe_frame(self) -> str | bytes | None:
        """The next frame for the WebSocket that is being probed."""
        return PROBE_PONG if self._upgrade.take_pong() else None

    # In: polling.

    def start_poll(self) -> tuple[bool, list[Event]]:
        """A GET has arrived. False: another is held, and that ends the session."""
        if self._poll_held:
            self._end(CloseReason.TRANSPORT_ERROR)
            return False, self._take_events()
        if self._upgrade.is_complete or self._phase is Phase.CLOSED:
            return False, []
        self._poll_held = True
        self._outbox.confirm_poll()
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
            self._end(CloseReason.TRANSPORT_ERROR)
            return False, self._take_events()
        self._post_open = True
        return True, []

    def lose_post(self) -> list[Event]:
        """The POST is refused, or its connection was lost before its end."""
        self._post_open = False
        self._end(CloseReason.TRANSPORT_ERROR)
        return self._take_events()

    def receive_payload(self, body: bytes, now: float) -> list[Event]:
        """The whole body of a POST."""
        self._post_open = False
        limit = self.options.max_packets_in_payload
        try:
            for packet in decode_payload(body, max_packets=limit):
                self._receive_packet(packet, now)
        except PacketError:
            self._end(CloseReason.PARSE_ERROR)
        return self._take_events()

    # In: WebSocket.

    def open_websocket(self, now: float) -> bool:
        """A WebSocket names this session. False: there is one already; close it."""
        if not self.options.allow_upgrades or self._phase is Phase.CLOSED:
            return False
        return self._upgrade.open_probe(now)

    def receive_frame(self, frame: str | bytes, now: float) -> list[Event]:
        """A frame from the WebSocket that is the transport."""
        if not self._upgrade.is_complete or self._phase is not Phase.OPEN:
            return []
        try:
            if byte_length(frame) > self.options.max_payload_bytes:
                self.close_code = CLOSE_TOO_BIG
                self._end(CloseReason.TRANSPORT_ERROR)
            else:
                self._receive_packet(decode_frame(frame), now)
        except (PacketError, UnicodeEncodeError):
            self._end(CloseReason.PARSE_ERROR)
        return self._take_events()

    def receive_probe_frame(self, frame: str | bytes, now: float) -> list[Event]:
        """A frame from the WebSocket that is being probed."""
        if not self.probe_is_open:
            return []
        if frame == PROBE_PING:
            self._upgrade.ping_probe()
        elif frame == PROBE_UPGRADE:
            self._complete_upgrade(now)
        else:
            self.lose_probe()
        return self._take_events()

    def lose_probe(self) -> None:
        """The probing WebSocket is gone or useless; polling goes on."""
        self._upgrade.lose_probe()

    def lose_websocket(self) -> list[Event]:
        """The WebSocket that is the transport is gone."""
        if self._upgrade.is_complete:
            self._end(CloseReason.TRANSPORT_CLOSE)
            self._outbox.clear()
        return self._take_events()

    # Time.

    def tick(self, now: float) -> list[Event]:
        """Does what is due."""
        heartbeat = self._heartbeat
        if heartbeat.ping_at is not None and now >= heartbeat.ping_at:
            self._ping(heartbeat.ping_at)
        if heartbeat.pong_by is not None and now >= heartbeat.pong_by:
            self._end(CloseReason.PING_TIMEOUT, slow=not self.writable)
        if self._upgrade.deadline is not None and now >= self._upgrade.deadline:
            self.lose_probe()
        if self._closing_deadline is not None and now >= self._closing_deadline:
            self._end(CloseReason.FORCED_CLOSE)
        return self._take_events()

    # Within.

    def _receive_packet(self, packet: Packet, now: float) -> None:
        if packet.type is PacketType.CLOSE:
            # The stock client does not abort the GET that it has waiting, and the
            # official suite wants this very answer to it.
            self._end(CloseReason.TRANSPORT_CLOSE, poll_answer=_NOOP)
        elif self._phase is not Phase.OPEN:
            return
        elif packet.type is PacketType.MESSAGE:
            self._events.append(MessageReceived(packet.data))
        elif packet.type is PacketType.PONG:
            self._heartbeat.pong(now)
            self._outbox.confirm_ping()
            self._ping_early(now)
        elif packet.type is PacketType.PING:
            # In the fourth protocol it is the server that pings.
            self._end(CloseReason.TRANSPORT_ERROR)

    def _complete_upgrade(self, now: float) -> None:
        self._release_poll(_NOOP)
        self._upgrade.complete()
        # The ping may have been lost with the poll that carried it.
        self._heartbeat.extend(now)
        self._ping_early(now)
        self._events.append(Upgraded())
        if self._phase is Phase.CLOSING:
            self._phase = Phase.CLOSED
            self._closing_deadline = None

    def _ping_early(self, now: float) -> None:
        """Asks a WebSocket's peer that lags what it has taken; polls tell it alone."""
        if (
            self._upgrade.is_complete
            and self._heartbeat.ping_at is not None
            and not self.writable
        ):
            self._ping(now)

    def _ping(self, at: float) -> None:
        self._heartbeat.ping(at)
        self._outbox.put_ping()

    def _next_poll_answer(self) -> bytes | None:
        limit = self.options.max_packets_in_answer
        if self._phase is Phase.CLOSING:
            packets = self._outbox.take_some(limit)
            if len(packets) < limit:
                packets.append(_CLOSE)
                self._end(CloseReason.FORCED_CLOSE)
            return encode_payload(packets)
        if self._outbox:
            return encode_payload(self._outbox.take_some(limit))
        if self._upgrade.link is Link.PROBED:
            return encode_payload([_NOOP])
        return None

    def _release_poll(self, packet: Packet) -> None:
        """Lets a held GET go, with this packet alone."""
        if self._poll_held and self._poll_answer is None:
            self._poll_answer = encode_payload([packet])

    def _end(
        self,
        reason: CloseReason,
        *,
        poll_answer: Packet = _CLOSE,
        keep_queue: bool = False,
        slow: bool = False,
    ) -> None:
        """Ends the session, unless it has ended; `reason` counts if it was open."""
        if self._phase is Phase.CLOSED:
            return
        if self._phase is Phase.OPEN:
            self._events.append(Closed(reason, slow))
        self._phase = Phase.CLOSED
        self._release_poll(poll_answer)
        if not keep_queue:
            self._outbox.clear()
        self._heartbeat.stop()
        self._upgrade.stop()
        self._closing_deadline = None

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events
