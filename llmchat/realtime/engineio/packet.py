"""One Engine.IO packet, and its form in a WebSocket frame.

A packet is a type and its data. Only a `message` packet may carry bytes. In a text
frame a packet is its type's digit followed by the data; a binary frame is a binary
message, bytes as they are; `b` followed by base64 is a binary message in a text
frame, for peers that cannot send or receive binary.

Spec: Engine.IO protocol 4, "Packet encoding".
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from enum import Enum

from .errors import PacketError


class PacketType(Enum):
    """The seven types; the value is the digit on the wire."""

    OPEN = "0"
    CLOSE = "1"
    PING = "2"
    PONG = "3"
    MESSAGE = "4"
    UPGRADE = "5"
    NOOP = "6"


_TYPES = {member.value: member for member in PacketType}


@dataclass(frozen=True, slots=True)
class Packet:
    """One typed unit; `data` is bytes for a binary message, else text."""

    type: PacketType
    data: str | bytes = ""


def encode_text(packet: Packet) -> str:
    """Return the packet as text: for a polling payload, or a peer without binary."""
    if isinstance(packet.data, bytes):
        return "b" + base64.b64encode(packet.data).decode("ascii")
    return packet.type.value + packet.data


def decode_text(text: str) -> Packet:
    """Return the packet of one text.

    Raises:
        PacketError: no such type, an empty text, or illegal base64.
    """
    if text[:1] == "b":
        return Packet(PacketType.MESSAGE, _decode_base64(text[1:]))
    packet_type = _TYPES.get(text[:1])
    if packet_type is None:
        raise PacketError("unknown packet type")
    return Packet(packet_type, text[1:])


def encode_frame(packet: Packet, *, base64_only: bool = False) -> str | bytes:
    """Return the packet as one WebSocket frame: bytes mean a binary frame.

    An empty binary message is sent as text, since some servers drop an empty binary
    frame on its way out.
    """
    if isinstance(packet.data, bytes) and packet.data and not base64_only:
        return packet.data
    return encode_text(packet)


def decode_frame(frame: str | bytes) -> Packet:
    """Return the packet of one WebSocket frame.

    Raises:
        PacketError: a text frame that is not a packet.
    """
    if isinstance(frame, bytes):
        return Packet(PacketType.MESSAGE, frame)
    return decode_text(frame)


def byte_length(data: str | bytes) -> int:
    """Return how many bytes the data takes on the wire; text is sent as UTF-8.

    Raises:
        UnicodeEncodeError: a text with half of a surrogate pair.
    """
    if isinstance(data, bytes) or data.isascii():
        return len(data)
    return len(data.encode("utf-8"))


def _decode_base64(text: str) -> bytes:
    """Return the bytes of standard base64; only missing padding is forgiven."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise PacketError("illegal base64") from exc
