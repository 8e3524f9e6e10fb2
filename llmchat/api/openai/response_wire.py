"""Responses as OpenAI's API writes them: whole ones, and the events of a stream."""

from __future__ import annotations

import time
from collections.abc import Sequence
from json.encoder import encode_basestring
from typing import Any

import orjson

from llmchat.answers.events import Cancelled, Done, End, Failed, Started
from llmchat.api.openai.broken import broken_object
from llmchat.api.openai.errors import error_of
from llmchat.api.openai.models import full_name
from llmchat.api.openai.previous import RESPONSE
from llmchat.api.openai.response_fields import ResponseRequest
from llmchat.api.openai.usage import is_billed, response_usage
from llmchat.providers.text import encode_json
from llmchat.providers.types import FinishReason

_INCOMPLETE = {
    FinishReason.LENGTH.value: "max_output_tokens",
    FinishReason.CONTENT_FILTER.value: "content_filter",
}
_DELTA = "response.output_text.delta"
_FIRST = {"output_index": 0, "content_index": 0}


class ResponseObject:
    """The object of a response, at each of its stages."""

    def __init__(self, asked: ResponseRequest, started: Started) -> None:
        ident = started.message_id.hex
        self.item_id = f"msg_{ident}"
        self._fields: dict[str, Any] = {
            "id": f"{RESPONSE}{ident}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": asked.instructions or None,
            "max_output_tokens": asked.max_tokens,
            "metadata": {},
            "model": full_name(started.provider, started.model),
            "output": [],
            "parallel_tool_calls": False,
            "previous_response_id": asked.previous,
            "reasoning": {"effort": None, "summary": None},
            "store": True,
            "temperature": asked.temperature,
            "text": {"format": _format(asked)},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": None,
            "user": None,
        }

    def begun(self) -> dict[str, Any]:
        """Return it while the answer is being written."""
        return self._fields

    def ended(self, done: Done) -> dict[str, Any]:
        """Return it with an answer that ended by itself, or by a limit or filter."""
        reason = _INCOMPLETE.get(done.finish_reason)
        return self._fields | {
            "status": status_of(done),
            "incomplete_details": {"reason": reason} if reason else None,
            "model": full_name(done.provider, done.model),
            "output": [self.item(status_of(done), [text_part(done.text)])],
            "usage": response_usage(done),
        }

    def failed(self, end: Failed | Cancelled) -> dict[str, Any]:
        """Return it with why the answer is not whole, and the text there is."""
        error = error_of(end)
        partial = [self.item("incomplete", [text_part(end.partial)])]
        return self._fields | {
            "status": "failed",
            "error": {"code": error.code, "message": error.text},
            "output": partial if end.partial else [],
            "usage": response_usage(end) if is_billed(end) else None,
        }

    def item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the message that is its only output."""
        return {
            "id": self.item_id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }


class ResponseWire:
    """The events of one stream; events of text differ only in text and number."""

    def __init__(self, asked: ResponseRequest, started: Started) -> None:
        self._object = ResponseObject(asked, started)
        self._number = -1
        place = {"type": _DELTA, "item_id": self._object.item_id, **_FIRST}
        head = orjson.dumps(place | {"logprobs": []}).decode()
        self._begin = f'event: {_DELTA}\ndata: {head[:-1]},"delta":'

    def start(self) -> bytes:
        """Return the events of a message that has no text yet."""
        begun, item = self._object.begun(), self._object.item("in_progress", [])
        part = self._place() | {"part": text_part("")}
        return self._events(
            ("response.created", {"response": begun}),
            ("response.in_progress", {"response": begun}),
            ("response.output_item.added", {"output_index": 0, "item": item}),
            ("response.content_part.added", part),
        )

    def more(self, texts: Sequence[str]) -> bytes:
        """Return the events of new pieces of text."""
        first, begin = self._number + 1, self._begin
        self._number += len(texts)
        return "".join(
            [
                f'{begin}{encode_basestring(text)},"sequence_number":{number}}}\n\n'
                for number, text in enumerate(texts, first)
            ]
        ).encode()

    def end(self, end: End) -> bytes:
        """Return the last events: for an incomplete answer, `failed` and `error`."""
        if isinstance(end, Done):
            return self._done(end)
        error = broken_object(end, response_usage, is_sent=True)
        # The first event is there to be read; on the second one the SDKs raise.
        return self._events(
            ("response.failed", {"response": self._object.failed(end)}),
            ("error", error["error"] | error),
        )

    def _done(self, done: Done) -> bytes:
        part, status = text_part(done.text), status_of(done)
        item = self._object.item(status, [part])
        text = self._place() | {"text": done.text, "logprobs": []}
        events = (
            ("response.output_text.done", text),
            ("response.content_part.done", self._place() | {"part": part}),
            ("response.output_item.done", {"output_index": 0, "item": item}),
            (f"response.{status}", {"response": self._object.ended(done)}),
        )
        return self._events(*events)

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._object.item_id, **_FIRST}

    def _events(self, *events: tuple[str, dict[str, Any]]) -> bytes:
        return b"".join([self._event(name, fields) for name, fields in events])

    def _event(self, name: str, fields: dict[str, Any]) -> bytes:
        self._number += 1
        data = fields | {"type": name, "sequence_number": self._number}
        # The client's schema is sent back, with whatever numbers and depth it has.
        return b"event: %b\ndata: %b\n\n" % (name.encode(), encode_json(data))


def text_part(text: str) -> dict[str, Any]:
    """Return the one part of a message's content."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def status_of(done: Done) -> str:
    """Return "completed" if an answer ended by itself, "incomplete" otherwise."""
    return "incomplete" if done.finish_reason in _INCOMPLETE else "completed"


def _format(asked: ResponseRequest) -> dict[str, Any]:
    """Return the format that was asked for, as a response writes it."""
    if asked.format is None:
        return {"type": "text"}
    schema = asked.format.get("json_schema")
    fields: dict[str, Any] = schema if isinstance(schema, dict) else {}
    return {"type": asked.format["type"], **fields}
