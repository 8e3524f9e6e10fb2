"""Chat completions as OpenAI's API writes them: whole ones, and chunks of a stream."""

from __future__ import annotations

import time
from collections.abc import Sequence
from json.encoder import encode_basestring
from typing import Any

import orjson

from llmchat.answers.events import Done, End, Started
from llmchat.api.openai.broken import broken_object
from llmchat.api.openai.models import full_name
from llmchat.api.openai.usage import completion_usage
from llmchat.providers.types import FinishReason, ToolCall

_DONE = b"data: [DONE]\n\n"


def completion(started: Started, done: Done) -> dict[str, Any]:
    """Return the object of a whole answer."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": done.text or (None if done.tool_calls else ""),
        "refusal": None,
    }
    if done.tool_calls:
        message["tool_calls"] = [_call(call) for call in done.tool_calls]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(done),
    }
    return {
        "id": _ident(started),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": full_name(done.provider, done.model),
        "choices": [choice],
        "usage": completion_usage(done),
    }


def finish_reason(done: Done) -> str:
    """Return why an answer has ended, in OpenAI's words."""
    reason = done.finish_reason
    return FinishReason.STOP.value if reason == FinishReason.OTHER else reason


class CompletionWire:
    """The chunks of one stream; chunks of text differ only in their text."""

    def __init__(self, started: Started, *, tells_usage: bool) -> None:
        self._tells_usage = tells_usage
        self._common = {
            "id": _ident(started),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": full_name(started.provider, started.model),
        }
        name = '"content":'
        begin, rest = self._chunk({"content": ""}).decode().split(f'{name}""')
        self._begin, self._rest = begin + name, rest

    def start(self) -> bytes:
        """Return the chunk that says whose message it is."""
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def more(self, texts: Sequence[str]) -> bytes:
        """Return the chunks of new pieces of text."""
        begin, rest = self._begin, self._rest
        return "".join(
            [f"{begin}{encode_basestring(text)}{rest}" for text in texts]
        ).encode()

    def end(self, end: End) -> bytes:
        """Return the last chunks; only a whole answer has a reason and `[DONE]`."""
        if not isinstance(end, Done):
            return _data(broken_object(end, completion_usage, is_sent=True))
        # Only now is it certain which provider and model have answered.
        self._common["model"] = full_name(end.provider, end.model)
        chunks = [self._chunk({}, finish_reason(end))]
        if end.tool_calls:
            calls = enumerate(end.tool_calls)
            deltas = [{"index": at} | _call(call) for at, call in calls]
            chunks.insert(0, self._chunk({"tool_calls": deltas}))
        if self._tells_usage:
            usage = {"choices": [], "usage": completion_usage(end)}
            chunks.append(_data(self._common | usage))
        return b"".join([*chunks, _DONE])

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": reason,
        }
        usage = {"usage": None} if self._tells_usage else {}
        return _data(self._common | {"choices": [choice]} | usage)


def _ident(started: Started) -> str:
    return f"chatcmpl-{started.message_id.hex}"


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _data(fields: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(fields)
