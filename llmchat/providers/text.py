r"""Text that is safe to store and to send: no lone surrogates.

A JSON string may escape half of a surrogate pair (`"\ud83d"`), and such a half fails
as soon as something encodes it. Some gateways even split a pair across two events.
"""

from __future__ import annotations

import json

import orjson

_HIGH = ("\ud800", "\udbff")
# How many characters of a key are too many to reveal. A shorter key is no secret:
# servers that take any key are given words such as "test", which also occur in the
# names of models.
_KEY_PART = 8


def well_formed(text: str) -> str:
    """Join surrogate pairs, and replace lone surrogates by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def decode_json(data: bytes) -> object:
    """Decode JSON, leniently if the strict and fast decoder gives up.

    Strings may then hold lone surrogates, and U+FFFD for bytes that are not UTF-8.

    Raises:
        ValueError: `data` is not JSON at all.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data.decode("utf-8", "replace"))
        except RecursionError as exc:
            raise ValueError("nested too deeply") from exc


def encode_json(value: object) -> bytes:
    """Encode JSON, also if the fast encoder refuses: large numbers, lone surrogates.

    Raises:
        ValueError: `value` is nested too deeply.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        try:
            return json.dumps(value).encode()
        except RecursionError as exc:
            raise ValueError("nested too deeply") from exc


def without_key(text: str, key: str) -> str:
    """Return `text` with each word masked that contains the key or a part of it."""
    key = key.strip().lower()
    parts = {key[at : at + _KEY_PART] for at in range(len(key) - _KEY_PART + 1)}
    return " ".join(
        "***" if any(part in word.lower() for part in parts) else word
        for word in text.split(" ")
    )


def holds_key(text: str, key: str) -> bool:
    """Return whether `text` repeats the whole key."""
    key = key.strip().lower()
    return len(key) >= _KEY_PART and key in text.lower()


class SurrogateJoiner:
    """Joins surrogate pairs that are split across two deltas."""

    def __init__(self) -> None:
        self._held = ""

    def join(self, text: str) -> str:
        """Return `text` well-formed; a high surrogate at its end waits for more."""
        if not self._held and text.isascii():
            return text
        text = self._held + text
        self._held = ""
        if text and _HIGH[0] <= text[-1] <= _HIGH[1]:
            self._held, text = text[-1], text[:-1]
        return well_formed(text)

    def end(self) -> str:
        """Return what is still held, replaced."""
        held, self._held = self._held, ""
        return well_formed(held)
