"""OpenAI's Chat Completions, and the many servers that speak it more or less.

A stream ends with `[DONE]`, or with its body if a finish reason was seen. Neither
proves success: some servers send `[DONE]` after an error, some never send it, and some
put a finish reason on an early chunk and then continue. Usage may be on any chunk, and
the last one counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .classify import error_in, is_nameless_error
from .events import decode_event
from .openai_body import build_body, check
from .openai_usage import read_usage
from .reading import Reading, StopReason, as_dict, first_candidate
from .request import ProviderRequest, endpoint
from .types import Chat, Key, Provider

__all__ = ["build_request", "check", "note_usage", "parse", "parse_whole"]

_STOP_REASONS = {
    "stop": StopReason.STOP,
    "eos": StopReason.STOP,
    "end_turn": StopReason.STOP,
    "length": StopReason.LENGTH,
    "max_tokens": StopReason.LENGTH,
    "model_length": StopReason.LENGTH,
    "model_context_window_exceeded": StopReason.LENGTH,
    "content_filter": StopReason.CONTENT_FILTER,
    "sensitive": StopReason.CONTENT_FILTER,  # z.ai
    "safety": StopReason.CONTENT_FILTER,
    "tool_calls": StopReason.TOOL,
    "function_call": StopReason.TOOL,
    "insufficient_system_resource": StopReason.ERROR,
}
# Not among them: "error", "aborted", z.ai's "network_error" and the like.
_BROKEN = re.compile(r"(?<!\bno[_-])error|abort")
# DashScope's finish reason on a chunk that has the error's message in place of text.
_TELLS_IN_TEXT = "error_finish"
# Where servers put the reasoning: DeepSeek and llama.cpp, Ollama and newer vLLM,
# OpenRouter, LiteLLM.
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks")
# What a chunk, or its choice, may hold besides the text of the one answer.
_ASIDE = ("usage", "error", "x_groq")
_ASIDE_OF_CHOICE = ("finish_reason", "usage", "index", "error")
_TEXT_PARTS = ("text", "output_text", "refusal", None)


def build_request(provider: Provider, key: Key | None, chat: Chat) -> ProviderRequest:
    """Return the request for a streamed answer.

    Raises:
        ProviderError: the chat or the provider's address cannot be sent.
    """
    url = endpoint(provider.base_url, "/chat/completions", bare_version="v1")
    return ProviderRequest(url, _headers(key), build_body(provider, chat))


def parse(name: bytes, data: bytes, reading: Reading) -> str:
    """Return the text of one event and note in `reading` what else it says.

    Raises:
        ProviderError: the event is an error, or breaks off.
    """
    if data.startswith(b"[DONE]"):
        reading.ended = True
        return ""
    chunk = decode_event(name, data)
    if chunk is None:
        return ""
    if reading.may_be_bare and not name and (text := _bare_text(chunk)):
        return text
    note_usage(chunk, reading)
    if (failure := _failure_in(chunk)) is not None or name == b"error":
        raise error_in(failure or chunk)
    return _read(chunk, "delta", reading)


def _bare_text(chunk: Mapping[str, Any]) -> str:
    """Return the text of a chunk that holds nothing else, "" for any other chunk.

    Nearly all chunks are like that, so they skip the search for everything else.
    """
    try:
        (choice,) = chunk["choices"]
        if any(map(chunk.get, _ASIDE)) or any(map(choice.get, _ASIDE_OF_CHOICE)):
            return ""
        text = choice["delta"]["content"]
    except (AttributeError, LookupError, TypeError, ValueError):
        return ""
    return text if isinstance(text, str) else ""


def parse_whole(body: object, reading: Reading) -> str:
    """Return the text of an answer that came in one piece, unstreamed."""
    if not isinstance(body, dict):
        raise error_in(body)
    if (failure := _failure_in(body)) is not None:
        raise error_in(failure)
    text = _read(body, "message", reading)
    reading.ended = first_candidate(body.get("choices")) is not None
    return text


def note_usage(chunk: Mapping[str, object], reading: Reading) -> None:
    """Note the usage in a chunk, wherever the server puts it.

    That is in the chunk itself, its choice (Kimi), its error, or its `x_groq`.
    """
    usage = chunk.get("usage")
    if not isinstance(usage, dict):
        usage = _usage_elsewhere(chunk)
    if usage is not None:
        read_usage(usage, reading)


def _usage_elsewhere(chunk: Mapping[str, object]) -> Mapping[str, object] | None:
    choice = first_candidate(chunk.get("choices"))
    for place in (choice, chunk.get("error"), chunk.get("x_groq")):
        if isinstance(place, dict) and isinstance(usage := place.get("usage"), dict):
            return usage
    return None


def _headers(key: Key | None) -> dict[str, str]:
    # An empty bearer is refused by some proxies in front of keyless servers.
    return {"Authorization": f"Bearer {key.value}"} if key else {}


def _failure_in(chunk: Mapping[str, object]) -> Mapping[str, object] | None:
    """Return the part of a chunk that reports a failure, None if none does.

    That is the chunk itself, its `x_groq`, or its choice (OpenRouter).
    """
    choice = first_candidate(chunk.get("choices")) or {}
    for place in (chunk, as_dict(chunk.get("x_groq")), choice):
        if place.get("error"):
            return place
    return chunk if is_nameless_error(chunk) else None


def _read(chunk: Mapping[str, object], part: str, reading: Reading) -> str:
    if not reading.model and isinstance(model := chunk.get("model"), str):
        reading.model = model
        # With tools, there may be a piece of a tool call beside the text.
        reading.may_be_bare = bool(model) and not reading.has_tools
    if not reading.fingerprint:
        fingerprint = chunk.get("system_fingerprint")
        reading.fingerprint = fingerprint if isinstance(fingerprint, str) else ""
    choice = first_candidate(chunk.get("choices"))
    if choice is None:
        return ""
    delta = as_dict(choice.get(part))
    if reading.has_tools:
        _read_calls(delta, reading)
    text = _read_delta(delta, reading)
    if isinstance(reason := choice.get("finish_reason"), str) and reason:
        reading.stop(reason, _stop_reason(reason.lower()))
        if reason.lower() == _TELLS_IN_TEXT:
            return ""
    return text


def _stop_reason(reason: str) -> StopReason:
    if reason in _STOP_REASONS:
        return _STOP_REASONS[reason]
    return StopReason.ERROR if _BROKEN.search(reason) else StopReason.OTHER


def _read_delta(delta: Mapping[str, object], reading: Reading) -> str:
    content = delta.get("content")
    if isinstance(content, str) and content:
        return content  # which is progress enough, whatever else is there
    parts = content if isinstance(content, list) else [content]
    if any(map(delta.get, _THOUGHTS)) or any(map(_is_thought, parts)):
        found = (t for t in map(delta.get, _THOUGHTS) if isinstance(t, str))
        reading.add_thought(next(found, None))
    if text := "".join(map(_part_text, parts)):
        return text
    refusal = delta.get("refusal")
    if isinstance(refusal, str) and refusal:
        reading.refused = True
        return refusal
    return ""


def _read_calls(delta: Mapping[str, object], reading: Reading) -> None:
    calls = delta.get("tool_calls")
    for call in map(as_dict, calls if isinstance(calls, list) else ()):
        function = as_dict(call.get("function"))
        name, arguments = function.get("name"), function.get("arguments")
        reading.add_call(call.get("index"), call.get("id"), name, arguments)
    if function := as_dict(delta.get("function_call")):  # servers before `tool_calls`
        reading.add_call(0, None, function.get("name"), function.get("arguments"))


def _is_thought(part: object) -> bool:
    return isinstance(part, dict) and part.get("type", "text") not in _TEXT_PARTS


def _part_text(part: object) -> str:
    if _is_thought(part):
        return ""
    text = part.get("text") if isinstance(part, dict) else part
    return text if isinstance(text, str) else ""
