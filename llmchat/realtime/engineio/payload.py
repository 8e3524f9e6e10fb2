"""Several packets in one HTTP body, as long-polling carries them.

The packets are in order, separated by U+001E, with no separator at the end. A binary
message is `b` and base64.

Spec: Engine.IO protocol 4, "HTTP long-polling", "Packet encoding".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .errors import PacketError
from .packet import Packet, decode_text, encode_text

SEPARATOR = "\x1e"


def encode_payload(packets: Iterable[Packet]) -> bytes:
    """Return the body that carries these packets."""
    return SEPARATOR.join(map(encode_text, packets)).encode("utf-8")


def decode_payload(body: bytes, *, max_packets: int) -> Iterator[Packet]:
    """Return the packets of a body, one after another.

    An iterator and not a list, since the packets before an illegal one count as
    received.

    Raises:
        PacketError: invalid UTF-8, an illegal packet, or more than `max_packets`.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise PacketError("invalid UTF-8") from exc
    if text.count(SEPARATOR) >= max_packets:
        raise PacketError("too many packets in a payload")
    for part in text.split(SEPARATOR):
        yield decode_text(part)
