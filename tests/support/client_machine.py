"""A client without I/O, connected in memory to a session: the machine's counterpart.

It does what the stock client does: it polls, posts what it has, upgrades by the book
and answers pings. The test decides where the two are cut off from each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from llmchat.realtime.engineio.events import Closed, Event, MessageReceived
from llmchat.realtime.engineio.handshake import Options
from llmchat.realtime.engineio.packet import (
    Packet,
    PacketType,
    decode_frame,
    encode_frame,
    encode_text,
)
from llmchat.realtime.engineio.payload import decode_payload, encode_payload
from llmchat.realtime.engineio.session import Session

START = 1000.0
NO_LIMIT = 1_000_000

OPTIONS = Options(
    ping_interval_s=25.0,
    ping_timeout_s=20.0,
    upgrade_timeout_s=10.0,
    max_payload_bytes=10_000,
)


def message(data: str | bytes) -> Packet:
    """Return a message packet."""
    return Packet(PacketType.MESSAGE, data)


def packets_of(body: bytes) -> list[Packet]:
    """Return the packets in the response to a poll."""
    return list(decode_payload(body, max_packets=NO_LIMIT))


def messages_of(events: list[Event]) -> list[str | bytes]:
    """Return the messages that were received among the events."""
    return [event.data for event in events if isinstance(event, MessageReceived)]


def closes_of(events: list[Event]) -> list[Closed]:
    """Return the closes among the events."""
    return [event for event in events if isinstance(event, Closed)]


@dataclass
class ClientMachine:
    """One client, the session at the other end, and the clock that both share."""

    session: Session
    now: float = START
    answers_pings: bool = True
    received: list[str | bytes] = field(default_factory=list)
    control: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    waiting: list[Packet] = field(default_factory=list)
    polls: bool = False
    websocket: str = "none"  # none, probing, probed, open
    closed: bool = False

    # Sending.

    def send(self, *data: str | bytes) -> None:
        """Queue messages for the server."""
        self.waiting += map(message, data)

    # Polling.

    def poll(self) -> None:
        """Start a poll, unless one is held."""
        if self.polls or self.closed or self.websocket == "open":
            return
        accepted, events = self.session.start_poll()
        self.events += events
        self.polls = accepted
        self.take_answer()

    def take_answer(self) -> None:
        """Take the response to the poll, if there is one."""
        if self.polls and (body := self.session.take_poll()) is not None:
            self.polls = False
            for packet in packets_of(body):
                self._receive(packet)

    def post(self) -> None:
        """Post everything that is queued."""
        if not self.waiting or self.closed or self.websocket in ("probed", "open"):
            return
        packets, self.waiting = self.waiting, []
        accepted, events = self.session.start_post()
        assert accepted
        self.events += events
        body = encode_payload(packets)
        self.events += self.session.receive_payload(body, self.now)
        while self.session.payload_waits:
            self.events += self.session.receive_more(self.now)

    # The upgrade.

    def open_websocket(self) -> None:
        """Open a WebSocket beside the polling."""
        if self.websocket == "none" and self.session.open_websocket(self.now):
            self.websocket = "probing"

    def probe(self) -> None:
        """Send the probe's ping."""
        if self.websocket == "probing":
            self._probe_frame("2probe")

    def take_probe_answer(self) -> None:
        """Take the probe's pong."""
        if (frame := self.session.take_probe_frame()) is not None:
            assert (frame, self.websocket) == ("3probe", "probing")
            self.websocket = "probed"

    def upgrade(self) -> None:
        """Complete the upgrade once the last poll is answered."""
        self.take_answer()
        if self.websocket == "probed" and not self.polls:
            self.websocket = "open"
            self._probe_frame("5")

    def lose_probe(self) -> None:
        """Give up the probe."""
        if self.websocket in ("probing", "probed"):
            self.session.lose_probe()
            self.websocket = "none"

    def _probe_frame(self, frame: str) -> None:
        self.events += self.session.receive_probe_frame(frame, self.now)

    # The WebSocket.

    def pump(self) -> None:
        """Exchange all frames that are ready, in both directions."""
        if self.websocket != "open":
            return
        while (frame := self.session.take_frame()) is not None:
            self._receive(decode_frame(frame))
        while self.waiting and self.session.is_open:
            frame = encode_frame(self.waiting.pop(0))
            self.events += self.session.receive_frame(frame, self.now)

    # Time.

    def sleep(self, seconds: float) -> None:
        """Let time pass, one deadline after the other."""
        until = self.now + seconds
        deadline = self.session.next_deadline
        while deadline is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.events += self.session.tick(self.now)
            assert self.session.next_deadline != deadline
            deadline = self.session.next_deadline
        self.now = until

    def settle(self) -> None:
        """Exchange until neither side has anything left to send."""
        if self.websocket in ("probing", "probed"):
            self.probe()
            self.take_probe_answer()
            self.upgrade()
        for _ in range(1000):
            before = (len(self.received), len(self.waiting))
            self.poll()
            self.post()
            self.pump()
            self.take_answer()
            if before == (len(self.received), len(self.waiting)):
                return
        raise AssertionError("the two never come to rest")

    def _receive(self, packet: Packet) -> None:
        if packet.type is PacketType.MESSAGE:
            self.received.append(packet.data)
            return
        self.control.append(encode_text(packet))
        if packet.type is PacketType.PING and self.answers_pings:
            self.waiting.insert(0, Packet(PacketType.PONG))
        elif packet.type is PacketType.CLOSE:
            self.closed = True


def open_polling(options: Options = OPTIONS, now: float = START) -> ClientMachine:
    """Return a client whose session was opened by polling, after its handshake."""
    client = ClientMachine(Session("sid", "polling", now, options), now)
    client.poll()
    assert client.control.pop().startswith("0{")
    return client


def open_by_websocket(
    options: Options = OPTIONS, now: float = START, *, base64_only: bool = False
) -> ClientMachine:
    """Return a client whose session was opened by WebSocket, after its first frame."""
    session = Session("sid", "websocket", now, options, base64_only=base64_only)
    client = ClientMachine(session, now, websocket="open")
    client.pump()
    assert client.control.pop().startswith("0{")
    return client


def open_upgraded(options: Options = OPTIONS, now: float = START) -> ClientMachine:
    """Return a client whose session was opened by polling and then upgraded."""
    client = open_polling(options, now)
    client.open_websocket()
    client.settle()
    assert client.session.transport == "websocket"
    client.events.clear()
    client.control.clear()
    return client
