"""Google's Gemini, `streamGenerateContent` with `alt=sse`.

Each event is a whole response with a piece of the text. There is no terminator: the
answer is complete when the body ends and some event had a finish reason. Old models
put one on every event, so it never ends the reading. An error in mid-stream comes as
bare JSON that is no server-sent event; the reader keeps those lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from .classify import error_in, is_error
from .errors import ProviderError
from .events import decode_event
from .reading import Reading, StopReason, as_dict, count, first_candidate
from .request import (
    History,
    ProviderRequest,
    build_history,
    endpoint,
    max_tokens,
    temperature,
)
from .types import Chat, Key, Provider

_VERSIONS = ("v1beta", "v1", "v1alpha")
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
_TOOL = (
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
)
_STOP_REASONS = {
    "STOP": StopReason.STOP,
    "MAX_TOKENS": StopReason.LENGTH,
    "CONTINUATION": StopReason.LENGTH,  # the rest would be another request's
    "MALFORMED_RESPONSE": StopReason.ERROR,
    **dict.fromkeys(_FILTERED, StopReason.CONTENT_FILTER),
    **dict.fromkeys(_TOOL, StopReason.TOOL),
}


def build_request(provider: Provider, key: Key | None, chat: Chat) -> ProviderRequest:
    """Return the request for a streamed answer.

    Raises:
        ProviderError: the chat or the provider's address cannot be sent.
    """
    body = _build_body(provider, chat)
    # In a header, never in the query: addresses end up in logs.
    headers = {"x-goog-api-key": key.value} if key else {}
    model = quote(chat.model.removeprefix("models/"), safe="")
    path = f"/models/{model}:streamGenerateContent"
    url = endpoint(provider.base_url, path, versions=_VERSIONS)
    return ProviderRequest(f"{url}?alt=sse", headers, body)


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
    """Note what a response counts: of all of it, or of its candidate alone."""
    candidate = first_candidate(response.get("candidates")) or {}
    if (visible := count(candidate.get("tokenCount"))) is not None:
        reading.counts["visible"] = visible
        reading.output_tokens = sum(reading.counts.values())
    for place in (as_dict(response.get("error")), response):
        if isinstance(usage := place.get("usageMetadata"), dict):
            _read_usage(usage, reading)


def _build_body(provider: Provider, chat: Chat) -> dict[str, object]:
    history = build_history(chat)
    # Without it, projects made since October 2026 have their requests stored.
    body: dict[str, object] = {"store": False}
    if history.system and chat.model.removeprefix("models/").startswith("gemma-"):
        history = _system_in_first_turn(history)
    if history.system:
        body["systemInstruction"] = {"parts": [{"text": history.system}]}
    body["contents"] = [
        {
            "role": "model" if turn.role == "assistant" else "user",
            "parts": [{"text": turn.content}],
        }
        for turn in history.turns
    ]
    config: dict[str, object] = {}
    if (limit := max_tokens(provider, chat)) is not None:
        config["maxOutputTokens"] = limit
    if (degree := temperature(provider, chat)) is not None:
        config["temperature"] = degree
    if config:
        body["generationConfig"] = config
    return body


def _system_in_first_turn(history: History) -> History:
    first, *others = history.turns
    content = f"{history.system}\n\n{first.content}"
    return History("", (type(first)(first.role, content), *others))


def _read(response: Mapping[str, object], reading: Reading) -> str:
    if isinstance(model := response.get("modelVersion"), str):
        reading.model = model
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
        reading.thoughts += 1
    if part.get("thought") or not isinstance(text, str):
        return ""
    return text


def _read_usage(usage: Mapping[str, object], reading: Reading) -> None:
    counts = reading.counts
    reading.input_tokens = count(usage.get("promptTokenCount"), reading.input_tokens)
    for name, field in (
        ("visible", "candidatesTokenCount"),
        ("thoughts", "thoughtsTokenCount"),
    ):
        if (tokens := count(usage.get(field))) is not None:
            counts[name] = tokens
    # Thoughts are billed as output, and are all of it where the limit cut them.
    if counts:
        reading.output_tokens = sum(counts.values())
    reading.reasoning_tokens = counts.get("thoughts", 0)
    cached = count(usage.get("cachedContentTokenCount"))
    reading.cached_tokens = cached or reading.cached_tokens
