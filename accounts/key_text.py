"""The text of an API key, of which only a hash and the beginning are stored.

It is `llmc_`, 43 random letters and digits (256 bits), and 6 more that are a checksum
of them. So a mistyped or invented key is recognized without the database, and tools
that look for leaked secrets report no false ones.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import unicodedata
import zlib

BEGINS_WITH = "llmc_"
# How much of a key is stored and shown, to tell it from others and to search for it.
PREFIX_LENGTH = 12

_ALPHABET = string.digits + string.ascii_letters
_SECRET_LENGTH = 43
_CHECKSUM_LENGTH = 6
_KEY = re.compile(
    rf"{BEGINS_WITH}([0-9A-Za-z]{{{_SECRET_LENGTH}}})([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})"
)
# They change the direction of the text that follows them, in a list of names or a log.
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_PARTS = re.compile(rf"{BEGINS_WITH}[0-9A-Za-z]*")


def new_key() -> str:
    """Return a new key."""
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
    return f"{BEGINS_WITH}{secret}{_checksum(secret)}"


def is_key(raw: object) -> bool:
    """Return whether a bearer is meant to be an API key."""
    return isinstance(raw, str) and raw.startswith(BEGINS_WITH)


def is_whole(key: str) -> bool:
    """Return whether a key has the right form and checksum."""
    match = _KEY.fullmatch(key)
    return match is not None and _checksum(match[1]) == match[2]


def prefix_of(key: str) -> str:
    """Return the beginning of a key, which reveals nothing about the rest."""
    return key[:PREFIX_LENGTH]


def digest_of(key: str) -> str:
    """Return the hash of a key. It needs no salt: nobody guesses 256 bits."""
    return hashlib.sha256(key.encode()).hexdigest()


def prefixes_in(text: str) -> list[str]:
    """Return the beginnings of the keys in a text, such as a line of a log."""
    return [prefix_of(found) for found in _PARTS.findall(text)]


def has_controls(name: str) -> bool:
    """Return whether the name of a key contains characters that control its display."""
    return any(char in _TURNS or unicodedata.category(char) == "Cc" for char in name)


def _checksum(secret: str) -> str:
    number, digits = zlib.crc32(secret.encode()), ""
    while number:
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits.rjust(_CHECKSUM_LENGTH, _ALPHABET[0])
