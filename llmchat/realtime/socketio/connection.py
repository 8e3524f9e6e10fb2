"""One Socket.IO connection: messages in, events out; no I/O and no clock of its own.

A connection joins namespaces. Each is in one of the states of `Membership`; a packet
for a namespace that is not joined is a violation, and any violation is final.

Spec: Socket.IO protocol 5, "Exchange protocol".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from .binary import encode_data, put_back
from .errors import PacketError, ProtocolError
from .events import (
    AckReceived,
    ConnectRequested,
    DisconnectReceived,
    Event,
    EventReceived,
)
from .packet import (
    BINARY_TYPES,
    MAX_ATTACHMENTS,
    Packet,
    PacketType,
    check_event_name,
    decode,
    encode,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much memory and patience a peer is granted. Times in seconds.

    `connect_timeout_s`: by then it must have joined a namespace. `binary_timeout_s`: by
    then a packet's attachments must have arrived. `max_attachment_bytes` is for all
    attachments of one packet together. `max_auth_bytes` is for what is sent with a
    CONNECT and kept: how much memory that takes, see `Packet.size`.
    """

    connect_timeout_s: float = 45.0
    binary_timeout_s: float = 30.0
    max_attachments: int = MAX_ATTACHMENTS
    max_attachment_bytes: int = 5_000_000
    max_namespaces: int = 100
    max_auth_bytes: int = 128 * 1024


class Membership(Enum):
    """The state of a namespace that the peer has asked for."""

    PENDING = auto()  # asked for, not answered
    JOINED = auto()
    EXPELLED = auto()  # the server made the peer leave, which it may not know yet


class _Partial:
    """A packet whose attachments have not all arrived."""

    __slots__ = ("attachments", "deadline", "packet", "size")

    def __init__(self, packet: Packet, deadline: float) -> None:
        self.packet = packet
        self.deadline = deadline
        self.attachments: list[bytes] = []
        self.size = 0


class Connection:
    """The state of one connection in all its namespaces."""

    __slots__ = ("_connect_deadline", "_failed", "_limits", "_members", "_partial")

    def __init__(self, now: float, limits: Limits) -> None:
        self._limits = limits
        self._members: dict[str, Membership] = {}
        self._partial: _Partial | None = None
        self._failed = False
        self._connect_deadline: float | None = now + limits.connect_timeout_s

    @property
    def next_deadline(self) -> float | None:
        """Return when `tick` must be called next, None for never."""
        if self._partial is None:
            return self._connect_deadline
        if self._connect_deadline is None:
            return self._partial.deadline
        return min(self._connect_deadline, self._partial.deadline)

    def tick(self, now: float) -> None:
        """Do what is due.

        Raises:
            ProtocolError: the peer took too long.
        """
        if self._connect_deadline is not None and now >= self._connect_deadline:
            raise self._failure("no namespace was joined in time")
        if self._partial is not None and now >= self._partial.deadline:
            raise self._failure("attachments did not arrive in time")

    @property
    def is_at_rest(self) -> bool:
        """Return whether no packet is incomplete, and no joining pending."""
        is_pending = Membership.PENDING in self._members.values()
        return self._partial is None and not self._failed and not is_pending

    def hand_over(self) -> dict[str, bool]:
        """Return what `take_over` needs: the namespaces, and whether each is joined."""
        members = self._members.items()
        return {name: state is Membership.JOINED for name, state in members}

    def take_over(self, members: dict[str, bool]) -> None:
        """Continue where another connection stopped."""
        for name, is_joined in members.items():
            state = Membership.JOINED if is_joined else Membership.EXPELLED
            self._members[name] = state
        if any(members.values()):
            self._connect_deadline = None

    # In.

    def receive_message(self, message: str | bytes, now: float) -> Event | None:
        """Return what a message means; None: its packet is not complete yet.

        Raises:
            PacketError: the message cannot be decoded.
            ProtocolError: the peer broke the protocol. The connection stays failed.
        """
        if self._failed:
            raise ProtocolError("the connection has failed before")
        try:
            packet, size = self._assemble(message, now)
            return None if packet is None else self._interpret(packet, size)
        except ProtocolError as exc:
            raise self._failure(str(exc), type(exc)) from exc

    def _assemble(self, message: str | bytes, now: float) -> tuple[Packet | None, int]:
        """Return the packet that a message completes, and its total size."""
        if isinstance(message, bytes):
            return self._add_attachment(message)
        if self._partial is not None:
            raise PacketError("a packet among another packet's attachments")
        packet = decode(message, max_attachments=self._limits.max_attachments)
        if packet.type not in BINARY_TYPES:
            return packet, packet.size
        deadline = now + self._limits.binary_timeout_s
        self._partial = _Partial(packet, deadline)
        return self._complete()

    def _add_attachment(self, attachment: bytes) -> tuple[Packet | None, int]:
        partial = self._partial
        if partial is None:
            raise PacketError("an attachment that belongs to no packet")
        partial.size += len(attachment)
        if partial.size > self._limits.max_attachment_bytes:
            raise PacketError("attachments are too large")
        partial.attachments.append(attachment)
        return self._complete()

    def _complete(self) -> tuple[Packet | None, int]:
        partial = self._partial
        if partial is None or len(partial.attachments) < partial.packet.attachments:
            return None, 0
        self._partial = None
        put_back(partial.packet.data, partial.attachments)
        return partial.packet, partial.packet.size + partial.size

    def _interpret(self, packet: Packet, size: int) -> Event | None:
        namespace = packet.namespace
        member = self._members.get(namespace)
        if packet.type is PacketType.CONNECT:
            if member in (Membership.PENDING, Membership.JOINED):
                raise ProtocolError("a namespace was requested twice")
            if member is None and len(self._members) >= self._limits.max_namespaces:
                raise ProtocolError("too many namespaces")
            if size > self._limits.max_auth_bytes:
                raise ProtocolError("a CONNECT with too much data")
            self._members[namespace] = Membership.PENDING
            return ConnectRequested(namespace, packet.data or {})
        if member is Membership.EXPELLED:
            # The peer sent it before it could know that it was expelled.
            return None
        if member is not Membership.JOINED:
            raise ProtocolError(
                "a packet for a namespace that the client has not joined"
            )
        return self._interpret_joined(packet, size)

    def _interpret_joined(self, packet: Packet, size: int) -> Event:
        namespace, data = packet.namespace, packet.data
        match packet.type:
            case PacketType.DISCONNECT:
                del self._members[namespace]
                return DisconnectReceived(namespace)
            case PacketType.EVENT | PacketType.BINARY_EVENT:
                name = data[0]
                args = tuple(data[1:])
                return EventReceived(namespace, name, args, packet.ack_id, size)
            case _:
                assert packet.ack_id is not None
                return AckReceived(namespace, packet.ack_id, tuple(data))

    def _failure(
        self, why: str, kind: type[ProtocolError] = ProtocolError
    ) -> ProtocolError:
        self._failed = True
        self._partial = None
        self._connect_deadline = None
        return kind(why)

    # Out. Each returns the messages to send, header first, in order.

    def accept(self, namespace: str, sid: str, pid: str | None = None) -> str:
        """Let the peer join the namespace it asked for.

        `pid` is the secret by which the peer can recover its state later.
        """
        self._members[namespace] = Membership.JOINED
        self._connect_deadline = None
        data = {"sid": sid} if pid is None else {"sid": sid, "pid": pid}
        return encode(Packet(PacketType.CONNECT, namespace, data))

    def refuse(self, namespace: str, message: str, data: Any = None) -> str:
        """Turn the peer away from a namespace; it may ask again."""
        self._members.pop(namespace, None)
        content = {"message": message}
        if data is not None:
            content["data"] = data
        return encode(Packet(PacketType.CONNECT_ERROR, namespace, content))

    def expel(self, namespace: str) -> str:
        """Make the peer leave a namespace."""
        self._members[namespace] = Membership.EXPELLED
        return encode(Packet(PacketType.DISCONNECT, namespace))


def encode_event(
    namespace: str, name: str, args: Sequence[Any], ack_id: int | None = None
) -> list[str | bytes]:
    """Return the messages of an event: the header, then its attachments.

    Raises:
        ReservedEventError: the name is reserved for the protocol.
        TypeError, ValueError: an argument has no JSON form.
    """
    check_event_name(name)
    return _encode(PacketType.EVENT, namespace, [name, *args], ack_id)


def encode_ack(namespace: str, ack_id: int, args: Sequence[Any]) -> list[str | bytes]:
    """Return the messages that answer the event with this id.

    Raises:
        TypeError, ValueError: an argument has no JSON form.
    """
    return _encode(PacketType.ACK, namespace, list(args), ack_id)


_BINARY_TWIN = {
    PacketType.EVENT: PacketType.BINARY_EVENT,
    PacketType.ACK: PacketType.BINARY_ACK,
}


def _encode(
    packet_type: PacketType, namespace: str, data: list[Any], ack_id: int | None
) -> list[str | bytes]:
    text, attachments = encode_data(data)
    if attachments:
        packet_type = _BINARY_TWIN[packet_type]
    packet = Packet(packet_type, namespace, None, ack_id, len(attachments))
    return [encode(packet, text), *attachments]
