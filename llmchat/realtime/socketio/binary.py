"""Bytes within JSON: taken out on the way out, put back on the way in.

Each bytes value is replaced by `{"_placeholder":true,"num":i}`, i counting in
document order, and travels as the i-th message after the header.

Spec: Socket.IO protocol 5, "Binary event".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import PacketError
from .strict_json import encode_json


def encode_data(data: Any) -> tuple[str, list[bytes]]:
    """Return the JSON of the data, and the bytes that were found in it.

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

    text = encode_json(data, take_out)
    return text, attachments


def put_back(data: list[Any], attachments: Sequence[bytes]) -> None:
    """Replace each placeholder within the data by its bytes.

    A number may occur repeatedly or out of order.

    Raises:
        PacketError: a placeholder's number is not an integer or has no attachment.
    """
    # Not recursive: the peer decides how deeply the data is nested.
    containers: list[list[Any] | dict[str, Any]] = [data]
    while containers:
        container = containers.pop()
        items: Any = (
            container.items() if isinstance(container, dict) else enumerate(container)
        )
        for key, item in items:
            if isinstance(item, dict) and item.get("_placeholder") is True:
                # It replaces the value of an existing key, so iteration can continue.
                container[key] = _attachment(item.get("num"), attachments)
            elif isinstance(item, list | dict):
                containers.append(item)


def _attachment(num: Any, attachments: Sequence[bytes]) -> bytes:
    if not isinstance(num, int) or isinstance(num, bool):
        raise PacketError("a placeholder's number is not an integer")
    if not 0 <= num < len(attachments):
        raise PacketError("a placeholder without an attachment")
    return attachments[num]
