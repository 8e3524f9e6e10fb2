"""JSON from untrusted peers, and for browsers.

Decoding is as strict as the specification, unlike Python's own: no NaN and no Infinity.
Nesting is limited, so that code which handles the value can recurse into it. Encoding
is as forgiving as JavaScript: a number that is not finite becomes null, half of a
surrogate pair is escaped.

Spec: RFC 8259; ECMAScript, "JSON.stringify".
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NoReturn

from .errors import PacketError

MAX_DEPTH = 512

# Possessive quantifiers, so that a string without an end is not retried many times.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+'
_WHOLE_OR_LAST = rf'{_STRING}(?:"|\\?\Z)'
_NO_BRACKETS = re.compile(rf'(?:{_WHOLE_OR_LAST}|[^"\[\]{{}}]++)++', re.DOTALL)
_STRINGS = re.compile(_WHOLE_OR_LAST, re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_NOT_FINITE = re.compile(f'({_STRING}")|-?Infinity|NaN', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def decode_json(text: str) -> Any:
    """Decode strict JSON.

    Raises:
        PacketError: it is not JSON, or nested deeper than `MAX_DEPTH`.
    """
    try:
        if text.count("[") + text.count("{") > MAX_DEPTH < _depth(text):
            raise ValueError("nested too deeply")
        return _decoder.decode(text)
    except (ValueError, RecursionError) as exc:
        raise PacketError("illegal JSON") from exc


def _depth(text: str) -> int:
    brackets = _NO_BRACKETS.sub("", text)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def size_of(text: str) -> int:
    """Return about how many bytes of memory this JSON takes once it is decoded.

    Two characters of it may become a list of 56 bytes, six a dictionary of 232. The
    content of strings takes no more than its own length. Pass nothing but the JSON: a
    quote before it would swap what is inside and outside of strings.
    """
    rest = _STRINGS.sub("", text)
    values = rest.count(",") + rest.count("[")
    return sys.getsizeof(text) + 64 * values + 240 * rest.count("{")


def encode_json(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Encode to compact JSON; text that is not ASCII is not escaped.

    `default` returns the replacement for a value that has no JSON form.

    Raises:
        TypeError, ValueError: the value has no JSON form, contains itself, or is
            nested too deeply.
    """
    encoder = _encoder if default is None else _make_encoder(default)
    try:
        text = encoder.encode(value)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
    if "NaN" in text or "Infinity" in text:
        text = _NOT_FINITE.sub(lambda match: match[1] or "null", text)
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _make_encoder(default: Callable[[Any], Any] | None) -> json.JSONEncoder:
    return json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=default)


_encoder = _make_encoder(None)
