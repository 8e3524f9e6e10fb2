"""Anthropic's Messages API.

Every event names its type in the JSON too, and it is read from there. Unknown types of
events, blocks and deltas are skipped, as the API's versioning policy asks. Text may
come in any block, with thinking before it. Usage is cumulative and may come more than
once; its `input_tokens` are only those neither read from a cache nor written to one.
"""

from __future__ import annotations

from collections.abc import Mapping

from .classify import error_in
from .claude_body import build_request, check
from .errors import ProviderError
from .events import decode_event
from .reading import Reading, StopReason, as_dict, count

__all__ = ["build_request", "check", "note_usage", "parse", "parse_whole"]

_INPUT_COUNTS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)
_STOP_REASONS = {
    "end_turn": StopReason.STOP,
    "stop_sequence": StopReason.STOP,
    "pause_turn": StopReason.STOP,
    "max_tokens": StopReason.LENGTH,
    "model_context_window_exceeded": StopReason.LENGTH,
    "refusal": StopReason.CONTENT_FILTER,
    "tool_use": StopReason.TOOL,
}


def parse(name: bytes, data: bytes, reading: Reading) -> str:
    """Return the text of one event and note in `reading` what else it says.

    Raises:
        ProviderError: the event is an error, breaks off, or breaks the sequence.
    """
    event = decode_event(name, data)
    if event is None:
        return ""
    kind = event.get("type")
    if kind == "content_block_delta":
        return _read_delta(event, as_dict(event.get("delta")), reading)
    note_usage(event, reading)
    if kind == "error" or name == b"error" or event.get("error"):
        raise error_in(event)
    if kind == "content_block_start":
        return _start_block(event, as_dict(event.get("content_block")), reading)
    if kind == "content_block_stop":
        reading.block_open = False
    elif kind == "message_start":
        _start(as_dict(event.get("message")), reading)
        reading.output_tokens = None  # a placeholder, the count comes at the end
    elif kind == "message_delta":
        _stop(as_dict(event.get("delta")), reading)
    elif kind == "message_stop":
        reading.ended = True
    return ""


def parse_whole(body: object, reading: Reading) -> str:
    """Return the text of an answer that came in one piece, unstreamed."""
    if not isinstance(body, dict) or body.get("type") == "error" or body.get("error"):
        raise error_in(body)
    _start(body, reading)
    _stop(body, reading)
    content = body.get("content")
    blocks = content if isinstance(content, list) else []
    for index, block in enumerate(map(as_dict, blocks)):
        if block.get("type") != "text":
            reading.thoughts += 1
        _begin_call(index, block, reading)
    return "".join(map(_text_of, blocks))


def note_usage(event: Mapping[str, object], reading: Reading) -> None:
    """Note what an event counts: its message, its error, or the event itself."""
    places = (as_dict(event.get("message")), as_dict(event.get("error")), event)
    for place in places:
        if isinstance(usage := place.get("usage"), dict):
            _read_usage(usage, reading)


def _start(message: Mapping[str, object], reading: Reading) -> None:
    ident = message.get("id")
    if isinstance(ident, str) and ident:
        # Servers have sent the same start twice, which is harmless; a different one
        # means that two answers are mixed up in one stream.
        if reading.ident and reading.ident != ident:
            raise ProviderError("a second message in one stream")
        reading.ident = ident
    if isinstance(model := message.get("model"), str):
        reading.model = model


def _start_block(
    event: Mapping[str, object], block: Mapping[str, object], reading: Reading
) -> str:
    reading.block_open = True
    if block.get("type") != "text":
        reading.thoughts += 1
    _begin_call(event.get("index"), block, reading)
    return _text_of(block)


def _begin_call(index: object, block: Mapping[str, object], reading: Reading) -> None:
    if block.get("type") == "tool_use":
        # Mostly empty in a stream, where the input comes in pieces instead.
        name, whole = block.get("name"), block.get("input")
        reading.add_call(index, block.get("id"), name, default=whole)


def _read_delta(
    event: Mapping[str, object], delta: Mapping[str, object], reading: Reading
) -> str:
    kind = delta.get("type")
    if kind == "text_delta":
        text = delta.get("text")
        return text if isinstance(text, str) else ""
    if kind == "input_json_delta":
        reading.calls.go_on(event.get("index"), delta.get("partial_json"))
    # Thinking, its signature if it is hidden, or what a later version adds.
    if delta:
        reading.add_thought(delta.get("thinking"))
    return ""


def _text_of(block: object) -> str:
    if not isinstance(block, dict) or block.get("type") != "text":
        return ""
    text = block.get("text")
    return text if isinstance(text, str) else ""


def _stop(delta: Mapping[str, object], reading: Reading) -> None:
    reason = delta.get("stop_reason")
    if isinstance(reason, str) and reason:
        reading.stop(reason, _STOP_REASONS.get(reason, StopReason.OTHER))
        reading.refusal_is_free = reason == "refusal"
        # Some servers send the reason before the text, when no block is closed yet.
        reading.nothing_follows = reading.block_open is False


def _read_usage(usage: Mapping[str, object], reading: Reading) -> None:
    # Each count is cumulative, and may be corrected later without the others.
    for name in _INPUT_COUNTS:
        if (tokens := count(usage.get(name))) is not None:
            reading.counts[name] = tokens
    _read_creation(usage, reading)
    inputs = sum(reading.counts.values())
    if "input_tokens" in reading.counts or inputs:
        reading.input_tokens = inputs
    reading.cache_read_tokens = reading.counts.get("cache_read_input_tokens", 0)
    reading.cache_write_tokens = reading.counts.get("cache_creation_input_tokens", 0)
    if (tokens := count(usage.get("output_tokens"))) is not None:
        reading.output_tokens = tokens
        reading.counted_chars = reading.seen_chars
    details = as_dict(usage.get("output_tokens_details"))
    thoughts = count(details.get("thinking_tokens"))
    reading.reasoning_tokens = thoughts or reading.reasoning_tokens


def _read_creation(usage: Mapping[str, object], reading: Reading) -> None:
    """Note the cache writes by how long they are kept, and their sum if not given."""
    creation = as_dict(usage.get("cache_creation"))
    kept = count(creation.get("ephemeral_1h_input_tokens"))
    briefly = count(creation.get("ephemeral_5m_input_tokens"))
    if kept is not None:
        reading.cache_write_long_tokens = kept
    both = (kept or 0) + (briefly or 0)
    if both and count(usage.get("cache_creation_input_tokens")) is None:
        reading.counts["cache_creation_input_tokens"] = both
