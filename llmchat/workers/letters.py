"""Letters as bytes: many in one message, a long message in several parts.

A letter is a tuple that begins with its kind; its body is bytes already:

 - `(ASK, number, name, body)` asks for a reply, and before that for a receipt.
 - `(REPLY, number, body)` is the reply to the ask of this number, `(FAILED, number)`
   says that there will be none; both ask for a receipt.
 - `(PING, number)` asks for nothing but a receipt.
 - `(DROP, number)` takes an ask back. It is sent once and may be lost.
 - `(RECEIPT, keys)` says that the letters with these keys have arrived.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import msgpack as _msgpack

# Its functions have no types.
msgpack: Any = _msgpack

ASK, REPLY, FAILED, PING, DROP, RECEIPT = range(6)
WANT_RECEIPTS = frozenset({ASK, REPLY, FAILED, PING})

Letter = tuple[Any, ...]
# What a receipt names: the letter's kind and number.
Key = tuple[int, int]

# The size of a part. Redis copies a message for each subscriber; long messages would
# hold up short ones.
PART_BYTES = 128 * 1024
# How much to keep of messages that are not whole yet, for all senders together.
MAX_PARTIAL_BYTES = 16 * 1024 * 1024


def key_of(letter: Letter) -> Key:
    """Return what a receipt for the letter names."""
    return letter[0], letter[1]


def size_of(letter: Letter) -> int:
    """Return how many bytes the letter's body has."""
    body = letter[-1]
    return len(body) if isinstance(body, bytes) else 0


def pack_body(body: Any) -> bytes:
    """Return the body of a letter as bytes.

    Raises: TypeError, ValueError, OverflowError, if it cannot be sent.
    """
    packed: bytes = msgpack.packb(body)
    return packed


def unpack_body(data: bytes) -> Any:
    """Return the body of a letter."""
    return msgpack.unpackb(data, strict_map_key=False)


def pack(letters: list[Letter], number: int) -> Iterator[dict[str, Any]]:
    """Yield the messages that carry the letters; `number` is the sender's own count."""
    data = msgpack.packb(letters)
    count = -(-len(data) // PART_BYTES)
    for index in range(count):
        part = data[index * PART_BYTES : (index + 1) * PART_BYTES]
        yield {"part": [number, index, count], "data": part}


class Unpacker:
    """Puts messages together again; incomplete ones are forgotten if they take much.

    A message of any length can be completed as long as no other is in progress.
    """

    def __init__(self) -> None:
        self._partial: OrderedDict[tuple[str, int], dict[int, bytes]] = OrderedDict()
        self._bytes = 0

    def take(self, sender: str, message: dict[str, Any]) -> list[Letter]:
        """Return the letters that this message completes."""
        number, index, count = message["part"]
        if count == 1:
            return _letters(message["data"])
        parts = self._partial.setdefault((sender, number), {})
        if index not in parts:
            parts[index] = message["data"]
            self._bytes += len(message["data"])
        if len(parts) == count:
            self._forget((sender, number))
            return _letters(b"".join(parts[at] for at in range(count)))
        # The one that has just grown is forgotten last: it would be sent over and over.
        self._partial.move_to_end((sender, number))
        while self._bytes > MAX_PARTIAL_BYTES and len(self._partial) > 1:
            self._forget(next(iter(self._partial)))
        return []

    def _forget(self, key: tuple[str, int]) -> None:
        self._bytes -= sum(map(len, self._partial.pop(key).values()))


def _letters(data: bytes) -> list[Letter]:
    return [tuple(letter) for letter in msgpack.unpackb(data)]
