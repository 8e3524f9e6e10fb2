"""Codes which prove that an id was issued by a server with the same secret."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from functools import lru_cache
from hmac import compare_digest


def code_of(secret: bytes, size: int, *said: str) -> str:
    """Return the code of `said`: `size` bytes, as four characters for every three.

    The first string of `said` names the purpose.
    """
    digest = hashlib.blake2b(
        "\n".join(said).encode(), key=_key(secret), digest_size=size
    )
    return urlsafe_b64encode(digest.digest()).decode()


@lru_cache(maxsize=8)
def _key(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def is_code(code: str, secret: bytes, size: int, *said: str) -> bool:
    """Return whether the code is right, in a time that does not reveal more."""
    return compare_digest(code, code_of(secret, size, *said))
