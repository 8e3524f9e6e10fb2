"""Google's Gemini, `streamGenerateContent` with `alt=sse`.

Each event is a whole response with a piece of the text. There is no terminator: the
answer is complete when the body ends and some event had a finish reason. Old models
put one on every event, so it never ends the reading. An error in mid-stream comes as
bare JSON and not as a server-sent event; the reader keeps such lines.
"""

from __future__ import annotations

from collections.abc import Mapping

from .classify import error_in, is_error
from .errors import ProviderError
from .events import decode_event
from .gemini_body import build_request, check, plain_name
from .reading import Reading, StopReason, as_dict, count, first_candidate

__all__ = ["build_request", "check", "note_usage", "parse", "parse_whole"]

_FILTERED = (
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "LANGUAGE",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_OTHER",
    "IMAGE_RECITATION",
)
# The results of tools are not included in the prompt, but cached tokens are. Thoughts
# are not included in the visible output.
_COUNTS = {
    "prompt": "promptTokenCount",
    "tools": "toolUsePromptTokenCount",
    "cached": "cachedContentTokenCount",
    "visible": "candidatesTokenCount",
    "thoughts": "thoughtsTokenCount",
}
_TOOL = (
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
)
_STOP_REASONS = {
    "STOP": StopReason.STOP,
    "MAX_TOKENS": StopReason.LENGTH,
    "CONTINUATION": StopReason.LENGTH,  # the rest would take another request
    "MALFORMED_RESPONSE": StopReason.ERROR,
    **dict.fromkeys(_FILTERED, StopReason.CONTENT_FILTER),
    **dict.fromkeys(_TOOL, StopReason.TOOL),
}


def parse(name: bytes, data: bytes, reading: Reading) -> str:
    """Return the text of one event and note in `reading` what else it says.

    Raises:
        ProviderError: the event is an error, or breaks off.
    """
    response = decode_event(name, data)
    if response is None:
        return ""
    note_usage(response, reading)
    if name == b"error" or is_error(response):
        raise error_in(response)
    return _read(response, reading)


def parse_whole(body: object, reading: Reading) -> str:
    """Return the text of an answer that came in one piece, unstreamed."""
    if isinstance(body, list) and not is_error(body):
        raise ProviderError("a JSON array: the address lacks alt=sse")
    if not isinstance(body, dict) or is_error(body):
        raise error_in(body)
    return _read(body, reading)


def note_usage(response: Mapping[str, object], reading: Reading) -> None:
    """Note the counts in a response: those of the whole, or only of its candidate."""
    candidate = first_candidate(response.get("candidates")) or {}
    if (visible := count(candidate.get("tokenCount"))) is not None:
        reading.counts["visible"] = visible
        reading.output_tokens = _sum(reading, "visible", "thoughts")
    for place in (as_dict(response.get("error")), response):
        if isinstance(usage := place.get("usageMetadata"), dict):
            _read_usage(usage, reading)


def _read(response: Mapping[str, object], reading: Reading) -> str:
    if isinstance(model := response.get("modelVersion"), str):
        reading.model = plain_name(model)
    feedback = as_dict(response.get("promptFeedback"))
    if (reason := feedback.get("blockReason")) and not _is_unspecified(reason):
        reading.blocked = True
        reading.raw_reason = str(reason)
    candidate = first_candidate(response.get("candidates"))
    return "" if candidate is None else _read_candidate(candidate, reading)


def _read_candidate(candidate: Mapping[str, object], reading: Reading) -> str:
    reason = candidate.get("finishReason")
    if isinstance(reason, str) and reason and not _is_unspecified(reason):
        reading.stop(reason, _STOP_REASONS.get(reason, StopReason.OTHER))
    parts = as_dict(candidate.get("content")).get("parts")
    if not isinstance(parts, list):
        return ""
    return "".join(_part_text(part, reading) for part in parts)


def _is_unspecified(reason: object) -> bool:
    return str(reason).endswith("_REASON_UNSPECIFIED")


def _part_text(part: object, reading: Reading) -> str:
    if not isinstance(part, dict):
        return ""
    text = part.get("text")
    if part.get("thought") or part.get("thoughtSignature"):
        reading.add_thought(text if part.get("thought") else None)
    if part.get("thought"):
        return ""
    if isinstance(text, str) and text:
        return text
    if call := as_dict(part.get("functionCall")):
        # Each call comes whole, so none continues another.
        name, arguments = call.get("name"), call.get("args")
        reading.add_call(reading.calls.count, call.get("id"), name, arguments)
    return ""


def _read_usage(usage: Mapping[str, object], reading: Reading) -> None:
    # Each count is cumulative; those that are missing stay as they were.
    for name, field in _COUNTS.items():
        if (tokens := count(usage.get(field))) is not None:
            reading.counts[name] = tokens
    reading.input_tokens = _sum(reading, "prompt", "tools")
    # Thoughts are billed as output, and are all of it if the limit cut them off.
    reading.output_tokens = _sum(reading, "visible", "thoughts")
    if reading.output_tokens is not None:
        reading.counted_chars = None
    if (total := count(usage.get("totalTokenCount"))) is not None:
        reading.note_total(total)
    reading.reasoning_tokens = reading.counts.get("thoughts", 0)
    reading.cache_read_tokens = reading.counts.get("cached", 0)


def _sum(reading: Reading, *names: str) -> int | None:
    counts = [reading.counts[name] for name in names if name in reading.counts]
    return sum(counts) if counts else None
