"""The ids of rows: UUIDs of version 7, which begin with the time (RFC 9562).

Rows of the same moment are adjacent in every index that begins with an id, so that a
batch changes one or two of its pages instead of one for each row. The rest is random,
with enough bits that an id cannot be guessed.
"""

from __future__ import annotations

import os
import time
from uuid import UUID

_VERSION = 7 << 76
_VARIANT = 2 << 62
_RANDOM_BYTES = 10
_HIGH, _LOW = 0xFFF << 64, (1 << 62) - 1
# How many ids one call of `os.urandom` serves: each call releases the interpreter's
# lock, which another thread may then take.
_IDS_AT_ONCE = 256

# The methods of a list are thread-safe.
_pool: list[bytes] = []
os.register_at_fork(after_in_child=_pool.clear)


def new_id() -> UUID:
    """Return an id for a row that is about to be stored."""
    bits = int.from_bytes(_random())
    moment = time.time_ns() // 1_000_000 << 80
    return UUID(int=moment | _VERSION | bits & _HIGH | _VARIANT | bits & _LOW)


def _random() -> bytes:
    while True:
        try:
            return _pool.pop()
        except IndexError:
            data = os.urandom(_IDS_AT_ONCE * _RANDOM_BYTES)
            starts = range(0, len(data), _RANDOM_BYTES)
            _pool.extend(data[at : at + _RANDOM_BYTES] for at in starts)
