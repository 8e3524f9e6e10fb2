"""Bytes within JSON: taken out on the way out, put back on the way in.

Each bytes value is replaced by `{"_placeholder":true,"num":i}`, i counting in
document order, and travels as the i-th message after the header.

Spec: Socket.IO protocol 5, "Binary event".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .errors import PacketError
from .packet import encode_json, mend_json


def encode_data(data: Any) -> tuple[str, list[bytes]]:
    """The JSON of the data, and the bytes that were found in it.

    Raises:
        TypeError, ValueError: a value has no JSON form.
    """
    try:
        return encode_json(data), []
    except TypeError:
        return _encode_binary(data)


def _encode_binary(data: Any) -> tuple[str, list[bytes]]:
    attachments: list[bytes] = []

    def take_out(value: Any) -> Any:
        if isinstance(value, bytes | bytearray | memoryview):
            attachments.append(bytes(value))
            return {"_placeholder": True, "num": len(attachments) - 1}
        raise TypeError(f"{type(value).__name__} has no JSON form")

    def encode(value: Any) -> str:
        attachments.clear()
        return encoder.encode(value)

    encoder = json.JSONEncoder(
        separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=take_out
    )
    return mend_json(encode, data), attachments


def put_back(data: Any, attachments: Sequence[bytes]) -> Any:
    """The data with each placeholder replaced by its bytes.

    A number may repeat or come out of order.

    Raises:
        PacketError: a placeholder's number is no integer or has no attachment.
    """
    if isinstance(data, list):
        return [put_back(item, attachments) for item in data]
    if not isinstance(data, dict):
        return data
    if data.get("_placeholder") is True:
        return _attachment(data.get("num"), attachments)
    return {key: put_back(item, attachments) for key, item in data.items()}


def _attachment(num: Any, attachments: Sequence[bytes]) -> bytes:
    if not isinstance(num, int) or isinstance(num, bool):
        raise PacketError("a placeholder's number is not an integer")
    if not 0 <= num < len(attachments):
        raise PacketError("a placeholder without an attachment")
    return attachments[num]
