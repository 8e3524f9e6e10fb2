"""Codes that say of an id that a server with the same secret has given it."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from hmac import compare_digest


def code_of(secret: bytes, size: int, *said: str) -> str:
    """Return the code of what is said, `size` bytes of it; four characters for three.

    The first of `said` tells what it is for.
    """
    key = hashlib.sha256(secret).digest()
    digest = hashlib.blake2b("\n".join(said).encode(), key=key, digest_size=size)
    return urlsafe_b64encode(digest.digest()).decode()


def is_code(code: str, secret: bytes, size: int, *said: str) -> bool:
    """Return whether that is the code, in a time that does not tell how much of it."""
    return compare_digest(code, code_of(secret, size, *said))
