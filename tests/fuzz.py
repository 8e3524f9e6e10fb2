"""Feed mutated packets to both protocol machines.

    python -m tests.fuzz --packets 1000000

Whatever the input, only the declared errors may be raised, each session must end
exactly once, what the machines send must be well-formed, and memory must not grow.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from llmchat.realtime.engineio.events import (
    Closed,
    CloseReason,
    MessageReceived,
    Upgraded,
)
from llmchat.realtime.engineio.events import Event as EngineEvent
from llmchat.realtime.engineio.handshake import Options
from llmchat.realtime.engineio.packet import (
    Packet,
    PacketType,
    decode_frame,
    encode_text,
)
from llmchat.realtime.engineio.payload import decode_payload
from llmchat.realtime.engineio.session import Session
from llmchat.realtime.socketio.connection import (
    Connection,
    Limits,
    encode_ack,
    encode_event,
)
from llmchat.realtime.socketio.errors import ProtocolError
from llmchat.realtime.socketio.events import ConnectRequested, Event, EventReceived

OPTIONS = Options(
    ping_interval_s=25,
    ping_timeout_s=20,
    max_payload_bytes=20_000,
    high_water_bytes=2_000,
    max_unconfirmed_bytes=20_000,
)
LIMITS = Limits(connect_timeout_s=20, binary_timeout_s=5, max_attachment_bytes=5_000)

PACKETS_PER_SESSION = 60
MAX_RSS_GROWTH = 32 * 1024 * 1024
MAX_OBJECT_GROWTH = 2_000

CORPUS: list[str | bytes] = [
    "40",
    '40{"token":"123"}',
    "40/a,",
    "41",
    "41/a,",
    '42["x",1,"2",{"3":[true]}]',
    '42/a,7["y",null,"€👍"]',
    '4212["z",1e400,-0.5,{"a":{"b":["\\ud800"]}}]',
    "4313[1,2]",
    "43/a,0[]",
    '451-["b",{"_placeholder":true,"num":0}]',
    '452-/a,9["b",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]',
    '450-["b"]',
    "461-3[]",
    '44{"message":"x"}',
    b"\x01\x02\x03\x04",
    b"",
    "bAQIDBA==",
    "b",
    "3",
    "3probe",
    "2probe",
    "2",
    "5",
    "6",
    "1",
    "0{}",
]

# What a joined client is allowed to send, as often as it likes.
LEGAL: list[list[str | bytes]] = [
    ['42["x",1,"2",{"3":[true]}]'],
    ['4212["z",1e400,-0.5,{"a":{"b":["\\ud800"]}}]'],
    ["4313[1,2]"],
    ['451-["b",{"_placeholder":true,"num":0}]', b"\x01\x02\x03\x04"],
    ['452-9["b",{"_placeholder":true,"num":1}]', "bAQIDBA==", b""],
    ['450-["b"]'],
    ["40/a,", '42/a,7["y",null,"€👍"]', "41/a,"],
    ["6"],
]

TOKENS = [
    *'[]{}",:-/\\ 0123456789btfn\x1e\x00é\u0661²\ud800',
    "_placeholder",
    '{"_placeholder":true,"num":0}',
    '"num":',
    "NaN",
    "Infinity",
    "1e400",
    "\\ud800",
    "9" * 20,
    "9" * 5000,
    "[" * 600,
    "[" * 20_000,
    '{"a":' * 600,
    "connect",
    "/a,",
    "__proto__",
]


class Mutator:
    """Makes frames: legal ones and, with the probability `badness`, mutated ones."""

    def __init__(self, rng: random.Random, badness: float) -> None:
        self.rng = rng
        self.badness = badness
        self.waiting: list[str | bytes] = []

    def frame(self) -> str | bytes:
        """Return the next frame."""
        if self.rng.random() < self.badness:
            return self._bad()
        if not self.waiting:
            self.waiting = list(self.rng.choice(LEGAL))
        return self.waiting.pop(0)

    def _bad(self) -> str | bytes:
        frame = self.rng.choice(CORPUS)
        if isinstance(frame, bytes):
            return self.rng.randbytes(self.rng.choice((0, 1, 10, 3000)))
        for _ in range(self.rng.choice((0, 1, 1, 1, 2, 4))):
            frame = self._mutated(frame)
        return frame

    def _mutated(self, text: str) -> str:
        at = self.rng.randint(0, len(text))
        end = min(len(text), at + self.rng.choice((1, 1, 2, 8)))
        other = str(self.rng.choice(CORPUS))
        token: str = self.rng.choice(TOKENS)
        mutated: tuple[str, ...] = (
            text[:at] + text[end:],
            text[:at] + text[at:end] * 2 + text[end:],
            text[:at] + other[self.rng.randint(0, len(other)) :],
            text[:at] + token + text[end:],
            text[:at] + token + text[at:],
        )
        return self.rng.choice(mutated)

    def body(self) -> tuple[bytes, int]:
        """Return the body of a POST, and how many packets it was made from."""
        frames = [self.frame() for _ in range(self.rng.choice((1, 1, 2, 5)))]
        texts = [
            f if isinstance(f, str) else encode_text(Packet(PacketType.MESSAGE, f))
            for f in frames
        ]
        body = "\x1e".join(texts).encode("utf-8", "surrogatepass")
        if self.rng.random() < self.badness / 10:
            at = self.rng.randint(0, len(body))
            body = body[:at] + self.rng.randbytes(2) + body[at:]
        return body, len(frames)


@dataclass
class Stack:
    """The protocol machines of one client, with an application that echoes."""

    rng: random.Random
    counts: Counter[str]
    now: float = 0.0
    ended: int = 0
    polls: bool = False
    history: list[str | bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mutator = Mutator(self.rng, self.rng.choice((0.0, 0.02, 0.1, 0.7)))
        self.mute = self.rng.random() < 0.2
        transport = self.rng.choice(("polling", "websocket"))
        options = replace(OPTIONS, max_packets_in_answer=self.rng.choice((1, 16)))
        self.session = Session("sid", transport, self.now, options)
        self.connection = Connection(self.now, LIMITS)

    def join(self) -> None:
        """Ask for the main namespace."""
        if self.session.transport == "polling":
            self._post(b"40")
        else:
            self._frame("40")

    def step(self) -> int:
        """Take one step; return how many packets the client sent in it."""
        self.now += self.rng.choice((0, 0, 0.1, 2, 6))
        self._follow(self.session.tick(self.now))
        if self.session.is_open:
            self._guard(lambda: self.connection.tick(self.now))
        count = self._receive()
        if self.rng.random() < 0.9:
            self._drain()
        return count

    def _receive(self) -> int:
        roll = self.rng.random()
        if self.session.probe_is_open and roll < 0.4:
            frame = self.rng.choice(("2probe", "5", self.mutator.frame()))
            self.history.append(frame)
            self._follow(self.session.receive_probe_frame(frame, self.now))
            return 1
        if roll < 0.03:
            self.session.open_websocket(self.now)
        elif roll < 0.035:
            self._lose()
        if self.session.transport == "websocket":
            self._frame(self.mutator.frame())
            return 1
        body, count = self.mutator.body()
        self._post(body)
        return count

    def _frame(self, frame: str | bytes) -> None:
        self.history.append(frame)
        self._follow(self.session.receive_frame(frame, self.now))

    def _post(self, body: bytes) -> None:
        self.history.append(body)
        self._follow(self.session.start_post()[1])
        self._follow(self.session.receive_payload(body, self.now))
        while self.session.payload_waits:
            self._follow(self.session.receive_more(self.now))

    def _lose(self) -> None:
        lose = self.rng.choice(("lose_poll", "lose_post", "lose_probe", "close"))
        if lose == "close":
            self._follow(self.session.close(CloseReason.FORCED_CLOSE, self.now))
            return
        self.polls = self.polls and lose != "lose_poll"
        self._follow(getattr(self.session, lose)() or [])

    def _follow(self, events: list[EngineEvent]) -> None:
        over = bool(self.ended)
        for event in events:
            match event:
                case MessageReceived(data):
                    assert not over, "a message after the end"
                    self._guard(partial(self._message, data))
                case Closed(reason):
                    over = True
                    self.ended += 1
                    self.counts[f"closed: {reason.value}"] += 1
                    assert self.ended == 1, "a session ended twice"
                case Upgraded():
                    self.counts["upgrades"] += 1

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except ProtocolError:
            self.counts["violations"] += 1
            self._follow(self.session.close(CloseReason.PARSE_ERROR, self.now))

    def _message(self, data: str | bytes) -> None:
        if not self.ended:
            event = self.connection.receive_message(data, self.now)
            if event is not None:
                self.counts["events"] += 1
                self._answer(event)

    def _answer(self, event: Event) -> None:
        namespace = event.namespace
        match event:
            case ConnectRequested():
                if self.rng.random() < 0.1:
                    self._send([self.connection.refuse(namespace, "no")])
                else:
                    self._send([self.connection.accept(namespace, "id")])
            case EventReceived(_, name, args, ack_id):
                self._send(encode_event(namespace, str(name), args))
                if ack_id is not None:
                    self._send(encode_ack(namespace, ack_id, args))
                if self.rng.random() < 0.02:
                    self._send([self.connection.expel(namespace)])

    def _send(self, messages: list[str | bytes]) -> None:
        for message in messages:
            self._follow(self.session.send_message(message, self.now))

    def _drain(self) -> None:
        packets: list[Packet] = []
        while (frame := self.session.take_frame()) is not None:
            packets.append(decode_frame(frame))
        if self.session.take_probe_frame() is not None:
            self.counts["probes"] += 1
        if self.session.transport == "polling" and not self.polls:
            self.polls, events = self.session.start_poll()
            self._follow(events)
        if (body := self.session.take_poll()) is not None:
            self.polls = False
            packets += decode_payload(body, max_packets=100)
        for packet in packets:
            self._check(packet)

    def _check(self, packet: Packet) -> None:
        assert packet.type is not PacketType.PONG or packet.data == "probe"
        if packet.type is PacketType.MESSAGE and isinstance(packet.data, str):
            packet.data.encode()
            assert packet.data[0] in "0123456", packet
            self.counts["sent"] += 1
        if packet.type is PacketType.PING and not self.mute:
            if self.session.transport == "websocket":
                self._frame("3")
            else:
                self._post(b"3")


def rss() -> int:
    """Return the peak size of this process in memory, in bytes."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def objects() -> int:
    """Return how many objects the garbage collector tracks."""
    gc.collect()
    return len(gc.get_objects())


class FuzzError(Exception):
    """A machine did what it must not, or memory grew; the text says on which input."""


def fuzz(packets: int, seed: int) -> Counter[str]:
    """Feed the machines this many packets; return counts of what happened.

    Raises:
        FuzzError: a machine failed, or memory grew.
    """
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    _run(packets // 5, rng, counts)  # warms up, so that later growth is a leak
    size, alive = rss(), objects()
    _run(packets - packets // 5, rng, counts)
    growth, more = rss() - size, objects() - alive
    counts["bytes grown"], counts["objects grown"] = growth, more
    if growth > MAX_RSS_GROWTH or more > MAX_OBJECT_GROWTH:
        raise FuzzError(f"memory grew by {growth} bytes and {more} objects")
    return counts


def _run(packets: int, rng: random.Random, counts: Counter[str]) -> None:
    done = 0
    while done < packets:
        stack = Stack(rng, counts)
        counts["sessions"] += 1
        try:
            done += _drive(stack)
        except Exception as exc:
            tail = [frame[:300] for frame in stack.history[-3:]]
            raise FuzzError(f"after {tail!r}") from exc
    counts["packets"] += done


def _drive(stack: Stack) -> int:
    stack.join()
    done = 0
    for _ in range(PACKETS_PER_SESSION):
        done += stack.step()
        if stack.session.is_closed:
            break
    return done


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
    print(f"{arguments.packets:,} packets, seed {arguments.seed}", flush=True)
    started = time.perf_counter()
    try:
        counts = fuzz(arguments.packets, arguments.seed)
    except FuzzError:
        traceback.print_exc()
        print(f"FAILED; repeat with --seed {arguments.seed}")
        return 1
    for name, count in sorted(counts.items()):
        print(f"{count:>12,}  {name}")
    print(f"passed in {time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
