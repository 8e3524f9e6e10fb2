"""What a message holds besides its text, as it is stored: JSON, or "" for nothing.

Two messages are equal only if this is equal, so the JSON has one form: sorted names, no
spaces, and only ASCII, which also encodes characters that no column takes. The bytes of
an image are not stored: its type, its size and a digest stand for them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from llmchat.providers.types import ChatMessage, Image, Role, ToolCall


def extra_of(message: ChatMessage) -> str:
    """Return what a message holds besides its text."""
    if not (message.images or message.tool_calls or message.tool_call_id):
        return ""
    return _encoded(dict(_fields(message)))


def extra_of_answer(calls: Sequence[ToolCall]) -> str:
    """Return what is stored of an answer that calls tools."""
    return _encoded({"toolCalls": _calls(calls)}) if calls else ""


def restored(role: Role, content: str, extra: str) -> ChatMessage:
    """Return the message that was stored with these fields.

    Raises: LookupError: it has an image whose bytes are not stored.
    """
    fields = decoded(extra)
    return ChatMessage(
        role,
        content,
        images=tuple(Image(url=image["url"]) for image in fields.get("images", ())),
        tool_calls=tuple(ToolCall(**call) for call in fields.get("toolCalls", ())),
        tool_call_id=fields.get("toolCallId", ""),
    )


def decoded(extra: str) -> dict[str, Any]:
    """Return the stored fields, as clients see them."""
    fields: dict[str, Any] = json.loads(extra) if extra else {}
    return fields


def _fields(message: ChatMessage) -> Iterator[tuple[str, object]]:
    if message.images:
        yield "images", [_image(image) for image in message.images]
    if message.tool_calls:
        yield "toolCalls", _calls(message.tool_calls)
    if message.tool_call_id:
        yield "toolCallId", message.tool_call_id


def _calls(calls: Sequence[ToolCall]) -> list[dict[str, str]]:
    return [asdict(call) for call in calls]


def _image(image: Image) -> dict[str, object]:
    if image.url:
        return {"url": image.url}
    digest = hashlib.sha256(image.data.encode(errors="replace")).hexdigest()
    size = 3 * len(image.data) // 4
    return {"mediaType": image.media_type, "bytes": size, "sha256": digest}


def _encoded(fields: dict[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))
