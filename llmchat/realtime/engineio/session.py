"""One Engine.IO session: packets in, events out; no I/O and no clock of its own.

The owner of a session hands it what arrives (`receive_*`), what the transports do
(`start_*`, `open_*`, `lose_*`) and the time (`tick`), and gets events back. After
each call the owner moves what is ready: `take_poll()` for a held GET, `take_frame()`
for the WebSocket that is the transport, `take_probe_frame()` for one that is not yet.

Rules kept here:
 - There is one queue of packets, and exactly one transport drains it.
 - A session ends once; the first reason to end it counts.
 - Whatever ends it, a GET that is held is answered.
 - Nothing that a client does raises an exception.

Spec: Engine.IO protocol 4, "Heartbeat", "Upgrade", "HTTP long-polling", "WebSocket".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from .errors import PacketError
from .events import Closed, CloseReason, Event, MessageReceived, Upgraded
from .packet import Packet, PacketType, byte_length, decode_frame, encode_frame
from .payload import decode_payload
from .state import CLOSE_NORMAL, NOOP, Phase, SessionState
from .upgrade import PROBE_PING, PROBE_PONG, PROBE_UPGRADE, Link

__all__ = ["CLOSE_NORMAL", "CLOSE_TOO_BIG", "Session"]

CLOSE_TOO_BIG = 1009
# Packets of a payload that are taken in with one call.
PACKETS_AT_ONCE = 16
# What `pass_texts` returns at most: after that, the transport is looked at again.
BYTES_AT_ONCE = 32 * 1024
_MESSAGE = PacketType.MESSAGE.value  # how the frame of a text message begins


class Session(SessionState):
    """One connection across its transports."""

    __slots__ = ()

    # Out.

    def send_message(self, data: str | bytes, now: float) -> list[Event]:
        """Queue a message; drop it if the session is no longer open.

        A lagging peer on a WebSocket is pinged early, since its pong shows what it has
        taken. The session ends if more than `max_unconfirmed_bytes` are unconfirmed
        already. Polling cannot carry a text that contains U+001E, its separator; JSON
        escapes it.

        Raises:
            UnicodeEncodeError: a text with half of a surrogate pair.
        """
        if self._phase is not Phase.OPEN:
            return []
        outbox, options = self._outbox, self.options
        if outbox.unconfirmed_bytes > options.max_unconfirmed_bytes:
            self._end(CloseReason.TRANSPORT_ERROR, slow=True)
            return self._take_events()
        outbox.put_message(data)
        if outbox.unconfirmed_bytes > options.high_water_bytes:
            self._ping_early(now)
        return []

    def pass_texts(self, messages: Sequence[str | bytes]) -> list[str] | None:
        """Return the frames of messages that nothing keeps waiting; None: queue them.

        They count as sent: the caller writes them to the WebSocket that is the
        transport. They are texts, few enough to leave the client's lag unnoticed.

        Raises:
            UnicodeEncodeError: a text with half of a surrogate pair.
        """
        outbox, upgrade = self._outbox, self._upgrade
        if outbox or self._phase is not Phase.OPEN:
            return None
        if not upgrade.is_complete or upgrade.pong_waits:
            return None
        size = 0
        frames: list[str] = []
        for message in messages:
            if not isinstance(message, str):
                return None
            size += byte_length(message)
            frames.append(_MESSAGE + message)
        lag = outbox.unconfirmed_bytes + size
        if size > BYTES_AT_ONCE or lag > self.options.high_water_bytes:
            return None
        outbox.note_passed(size, len(frames))
        return frames

    def close(self, reason: CloseReason, now: float) -> list[Event]:
        """End the session from this side.

        What is queued is sent first. A polling peer gets it in the answers to the GET
        that is held, if any, and to the next ones, and then the close packet in an
        answer of its own. If a probe succeeds before that, the WebSocket carries it.
        """
        if self._phase is not Phase.OPEN:
            return []
        if self._upgrade.is_complete:
            self._end(reason, keep_queue=True)
            return self._take_events()
        self._phase = Phase.CLOSING
        self._heartbeat.stop()
        self._closing_deadline = now + self.options.closing_timeout_s
        if self._polling.held:
            self._answer_with_the_rest()
        return [Closed(reason)]

    def take_poll(self) -> bytes | None:
        """Return the body that answers the held GET; None: there is nothing to send."""
        if self._polling.needs_answer:
            if self._outbox:
                limit = self.options.max_packets_in_answer
                self._polling.answer(self._outbox.take_some(limit))
            elif self._upgrade.link is Link.PROBED:
                self._polling.answer([NOOP])
        return self._polling.take()

    def take_frame(self) -> str | bytes | None:
        """Return the next frame for the WebSocket that is the transport."""
        if not self._upgrade.is_complete:
            return None
        if self._upgrade.pong_waits:
            return self.take_probe_frame()
        message = self._outbox.take_message()
        if isinstance(message, str):
            return _MESSAGE + message
        if message is not None:
            packet = Packet(PacketType.MESSAGE, message)
        elif (waiting := self._outbox.take()) is not None:
            packet = waiting
        else:
            return None
        return encode_frame(packet, base64_only=self.base64_only)

    def take_probe_frame(self) -> str | bytes | None:
        """Return the next frame for the WebSocket that is being probed."""
        return PROBE_PONG if self._upgrade.take_pong() else None

    # In: polling.

    def start_poll(self) -> tuple[bool, list[Event]]:
        """Hold a GET. False: rejected; a second GET also ends the session."""
        if self._polling.held:
            self._end(CloseReason.TRANSPORT_ERROR)
            return False, self._take_events()
        if self._upgrade.is_complete or self._phase is Phase.CLOSED:
            return False, []
        self._polling.held = True
        self._outbox.confirm_poll()
        if self._phase is Phase.CLOSING:
            self._answer_with_the_rest()
        return True, []

    def lose_poll(self) -> list[Event]:
        """End the session, since the connection of the held GET was lost."""
        if self._polling.held:
            self._polling.held = False
            self._end(CloseReason.TRANSPORT_ERROR)
        return self._take_events()

    def lose_answer(self) -> list[Event]:
        """End the session, since the answer to a GET was not sent."""
        self._end(CloseReason.TRANSPORT_ERROR)
        return self._take_events()

    def start_post(self) -> tuple[bool, list[Event]]:
        """Begin a POST. False: another is still open, which ends the session."""
        if self._polling.post_open:
            self._end(CloseReason.TRANSPORT_ERROR)
            return False, self._take_events()
        self._polling.post_open = True
        return True, []

    def lose_post(self) -> list[Event]:
        """End the session: the POST is illegal, or was lost before its end."""
        self._polling.post_open = False
        self._end(CloseReason.TRANSPORT_ERROR)
        return self._take_events()

    def receive_payload(self, body: bytes, now: float) -> list[Event]:
        """Take in the whole body of a POST, and the first of its packets.

        The POST does not end until `receive_more` has taken in the rest.
        """
        limit = self.options.max_packets_in_payload
        self._payload = decode_payload(body, max_packets=limit)
        return self.receive_more(now)

    def receive_more(self, now: float) -> list[Event]:
        """Take in some more packets of the payload."""
        count = 0
        try:
            for packet in islice(self._payload or (), PACKETS_AT_ONCE):
                self._receive_packet(packet, now)
                count += 1
        except PacketError:
            self._end(CloseReason.PARSE_ERROR)
        if count < PACKETS_AT_ONCE or self._phase is Phase.CLOSED:
            self._payload = None
            self._polling.post_open = False
        return self._take_events()

    # In: WebSocket.

    def open_websocket(self, now: float) -> bool:
        """Start a probe. False: the session has a WebSocket already, or wants none."""
        if not self.options.allow_upgrades or self._phase is Phase.CLOSED:
            return False
        return self._upgrade.open_probe(now)

    def receive_frame(self, frame: str | bytes, now: float) -> list[Event]:
        """Take in a frame from the WebSocket that is the transport."""
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
        """Take in a frame from the WebSocket that is being probed."""
        if not self.probe_is_open:
            return []
        if frame == PROBE_PING:
            self._upgrade.ping_probe()
        elif frame == PROBE_UPGRADE:
            self._complete_upgrade(now)
        else:
            self._upgrade.lose_probe()
        return self._take_events()

    def lose_probe(self) -> None:
        """Give up the probe; polling continues."""
        self._upgrade.lose_probe()

    def lose_websocket(self) -> list[Event]:
        """End the session, since the WebSocket that was its transport was lost."""
        if self._upgrade.is_complete:
            self._end(CloseReason.TRANSPORT_CLOSE)
            self._outbox.clear()
        return self._take_events()

    # Another worker.

    def take_over(
        self, messages: list[str | bytes], ping_in_s: float | None, now: float
    ) -> None:
        """Continue where another worker stopped: the client has its open packet."""
        super().take_over(messages, ping_in_s, now)
        self._ping_early(now)

    # Time.

    def tick(self, now: float) -> list[Event]:
        """Do what is due."""
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
            # official suite expects exactly this answer to it.
            self._end(CloseReason.TRANSPORT_CLOSE, poll_answer=NOOP)
        elif self._phase is not Phase.OPEN:
            return
        elif packet.type is PacketType.MESSAGE:
            self._events.append(MessageReceived(packet.data))
        elif packet.type is PacketType.PONG:
            self._heartbeat.pong(now)
            self._outbox.confirm_ping()
            self._ping_early(now)
        elif packet.type is PacketType.PING:
            # In version 4 of the protocol, only the server pings.
            self._end(CloseReason.TRANSPORT_ERROR)

    def _complete_upgrade(self, now: float) -> None:
        self._polling.answer([NOOP])
        self._upgrade.complete()
        # The ping may have been lost with the poll that carried it.
        self._heartbeat.extend(now)
        self._ping_early(now)
        self._events.append(Upgraded())
        if self._phase is Phase.CLOSING:
            self._phase = Phase.CLOSED
            self._closing_deadline = None

    def _ping_early(self, now: float) -> None:
        """Ping a lagging client on a WebSocket; polls confirm without pings."""
        if (
            self._upgrade.is_complete
            and self._heartbeat.ping_at is not None
            and not self.writable
        ):
            self._ping(now)

    def _ping(self, at: float) -> None:
        self._heartbeat.ping(at)
        self._outbox.put_ping()

    def _answer_with_the_rest(self) -> None:
        """Answer the held GET of a closing session with what is queued, or the close.

        Never with both: a stock client acts on a close immediately, but delivers the
        messages before it a moment later, when it considers itself disconnected.
        """
        packets = self._outbox.take_some(self.options.max_packets_in_answer)
        if packets:
            self._polling.answer(packets)
        else:
            self._end(CloseReason.FORCED_CLOSE)
