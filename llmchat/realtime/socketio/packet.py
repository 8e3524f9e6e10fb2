"""One Socket.IO packet and its text.

    <type>[<attachments>-][<namespace>,][<ack id>][<JSON>]

An event's JSON is an array that starts with its name; an acknowledgement's is the
array of its arguments. If a packet has attachments, this text is its header: the bytes
follow as messages of their own, and the JSON has placeholders for them (see `binary`).

Decoding trusts nothing: digits are ASCII digits, numbers are bounded before they are
converted, JSON is strict, nesting is limited.

Spec: Socket.IO protocol 5, "Packet encoding".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .errors import PacketError, ReservedEventError
from .strict_json import decode_json, encode_json, size_of

MAIN_NAMESPACE = "/"
MAX_ATTACHMENTS = 10

RESERVED_EVENTS = frozenset(
    {
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
    }
)


class PacketType(Enum):
    """The seven types; the value is the digit on the wire."""

    CONNECT = "0"
    DISCONNECT = "1"
    EVENT = "2"
    ACK = "3"
    CONNECT_ERROR = "4"
    BINARY_EVENT = "5"
    BINARY_ACK = "6"


_TYPES = {member.value: member for member in PacketType}
BINARY_TYPES = frozenset({PacketType.BINARY_EVENT, PacketType.BINARY_ACK})


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet. `data` is decoded JSON, None if there is none.

    For an event `data` is `[name, *args]`, for an acknowledgement `[*args]`. `size` is
    about how many bytes of memory a decoded packet takes, attachments aside.
    """

    type: PacketType
    namespace: str = MAIN_NAMESPACE
    data: Any = None
    ack_id: int | None = None
    attachments: int = 0
    size: int = field(default=0, compare=False)


# Above it, JavaScript cannot represent every integer.
MAX_ACK_ID = 2**53 - 1

# Everything before the JSON. A longer id does not match: its digits become bad JSON.
_HEADER = re.compile(
    r"(?P<type>[0-6])"
    r"(?:(?P<attachments>[0-9]{1,9})-)?"
    r"(?:(?P<namespace>/[^,]*)(?:,|\Z))?"
    r"(?P<ack_id>[0-9]{1,16}(?![0-9]))?"
)


def decode(text: str, *, max_attachments: int = MAX_ATTACHMENTS) -> Packet:
    """Return the packet of a text.

    Raises:
        PacketError: it is not a packet, or is one that only a server may send.
    """
    header = _HEADER.match(text)
    if header is None:
        raise PacketError("no packet header")
    packet_type = _TYPES[header["type"]]
    attachments = _attachments(packet_type, header["attachments"], max_attachments)
    ack_id = _ack_id(header["ack_id"])
    rest = text[header.end() :]
    data = decode_json(rest) if rest else None
    packet = Packet(
        packet_type,
        header["namespace"] or MAIN_NAMESPACE,
        data,
        ack_id,
        attachments,
        header.end() + size_of(rest),
    )
    _check(packet, has_data=bool(rest))
    return packet


def _attachments(packet_type: PacketType, digits: str | None, limit: int) -> int:
    if (digits is not None) is not (packet_type in BINARY_TYPES):
        raise PacketError("an attachment count that is missing or unexpected")
    count = int(digits or 0)
    if count > limit:
        raise PacketError("too many attachments")
    return count


def _ack_id(digits: str | None) -> int | None:
    if digits is None:
        return None
    if int(digits) > MAX_ACK_ID:
        raise PacketError("an ack id that is too large")
    return int(digits)


def _check(packet: Packet, *, has_data: bool) -> None:
    """Check that a client's packet contains what its type allows."""
    data = packet.data
    match packet.type:
        case PacketType.CONNECT:
            valid = not has_data or isinstance(data, dict)
        case PacketType.DISCONNECT:
            valid = not has_data
        case PacketType.EVENT | PacketType.BINARY_EVENT:
            valid = isinstance(data, list) and bool(data) and _is_event_name(data[0])
        case PacketType.ACK | PacketType.BINARY_ACK:
            valid = isinstance(data, list) and packet.ack_id is not None
        case _:
            valid = False
    if not valid:
        raise PacketError(f"invalid content in a {packet.type.name} packet")


def _is_event_name(name: Any) -> bool:
    if isinstance(name, str):
        return name not in RESERVED_EVENTS
    return isinstance(name, int | float) and not isinstance(name, bool)


def check_event_name(name: str) -> None:
    """Refuse to send what a client would take for the protocol's own event.

    Raises:
        ReservedEventError: the name is reserved.
    """
    if name in RESERVED_EVENTS:
        raise ReservedEventError(f"{name!r} is reserved")


def encode(packet: Packet, encoded_data: str | None = None) -> str:
    """Return the packet's text. `encoded_data` is its JSON, if already encoded."""
    parts = [packet.type.value]
    if packet.type in BINARY_TYPES:
        parts.append(f"{packet.attachments}-")
    if packet.namespace != MAIN_NAMESPACE:
        parts.append(packet.namespace + ",")
    if packet.ack_id is not None:
        parts.append(str(packet.ack_id))
    if encoded_data is not None:
        parts.append(encoded_data)
    elif packet.data is not None:
        parts.append(encode_json(packet.data))
    return "".join(parts)
