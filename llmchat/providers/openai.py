"""OpenAI's Chat Completions, and the many servers that speak it more or less.

A stream is complete with `[DONE]` or a finish reason. Neither proves success: some
servers send `[DONE]` after an error, some never send it, some put the last words on
the chunk with the finish reason. Usage may be on any chunk, the last counts.
"""

from __future__ import annotations

from .answer import Answer, Ending, count
from .classify import error_in
from .errors import ProviderError
from .request import (
    ProviderRequest,
    build_history,
    endpoint,
    max_tokens,
    temperature,
)
from .text import decode_json
from .types import Chat, Key, Provider

_ENDINGS = {
    "stop": Ending.STOP,
    "eos": Ending.STOP,
    "length": Ending.LENGTH,
    "content_filter": Ending.CONTENT_FILTER,
    "tool_calls": Ending.TOOL,
    "function_call": Ending.TOOL,
    "insufficient_system_resource": Ending.ERROR,
    "error": Ending.ERROR,
    "abort": Ending.ERROR,
    "aborted": Ending.ERROR,
}


def build_request(provider: Provider, key: Key | None, chat: Chat) -> ProviderRequest:
    """Return the request for a streamed answer.

    Raises:
        ProviderError: the chat or the provider's address cannot be sent.
    """
    url = endpoint(provider.base_url, "/chat/completions", version="v1")
    return ProviderRequest(url, _headers(key), build_body(provider, chat))


def build_body(provider: Provider, chat: Chat) -> dict[str, object]:
    """Return the body that OpenAI's format and its relatives share."""
    history = build_history(chat)
    messages: list[dict[str, str]] = []
    if history.system:
        messages.append({"role": provider.system_role, "content": history.system})
    messages += ({"role": m.role, "content": m.content} for m in history.turns)
    body: dict[str, object] = {
        "model": chat.model,
        "messages": messages,
        "stream": True,
    }
    if provider.include_usage:
        body["stream_options"] = {"include_usage": True}
    if (limit := max_tokens(provider, chat)) is not None:
        body[provider.max_tokens_field] = limit
    if (degree := temperature(provider, chat)) is not None:
        body["temperature"] = degree
    return body


def parse(name: bytes, data: bytes, answer: Answer) -> str:
    """Return the text of one event and note in `answer` what else it says.

    Raises:
        ProviderError: the event is an error, or is not JSON.
    """
    if data.startswith(b"[DONE]"):
        answer.ended = True
        return ""
    if not data.strip():
        return ""
    try:
        chunk = decode_json(data)
    except ValueError as exc:
        raise ProviderError("event is not JSON", retryable=True) from exc
    if name == b"error" or _is_error(chunk):
        raise error_in(chunk)
    return _read(chunk, "delta", answer)


def parse_whole(body: object, answer: Answer) -> str:
    """Return the text of an answer that came in one piece, unstreamed."""
    if _is_error(body):
        raise error_in(body)
    text = _read(body, "message", answer)
    answer.ended = isinstance(body, dict) and bool(body.get("choices"))
    return text


def _headers(key: Key | None) -> dict[str, str]:
    # An empty bearer is refused by some proxies in front of keyless servers.
    return {"Authorization": f"Bearer {key.value}"} if key else {}


def _is_error(chunk: object) -> bool:
    if not isinstance(chunk, dict):
        return True
    if chunk.get("error"):
        return True
    return "choices" not in chunk and (
        chunk.get("object") == "error" or "detail" in chunk
    )


def _read(chunk: object, part: str, answer: Answer) -> str:
    if not isinstance(chunk, dict):
        return ""
    if not answer.model and isinstance(model := chunk.get("model"), str):
        answer.model = model
    if isinstance(usage := chunk.get("usage"), dict):
        _read_usage(usage, answer)
    choices = chunk.get("choices")
    if not isinstance(choices, list) or not choices:
        return ""
    choice = choices[0]
    if not isinstance(choice, dict):
        return ""
    text = _read_delta(choice.get(part), answer)
    if isinstance(reason := choice.get("finish_reason"), str) and reason:
        answer.raw_reason = reason
        answer.ending = _ENDINGS.get(reason, Ending.OTHER)
    return text


def _read_delta(delta: object, answer: Answer) -> str:
    if not isinstance(delta, dict):
        return ""
    content = delta.get("content")
    if isinstance(content, str) and content:
        return content
    if isinstance(content, list):
        return "".join(filter(None, (_part_text(part) for part in content)))
    refusal = delta.get("refusal")
    if isinstance(refusal, str) and refusal:
        answer.refused = True
        return refusal
    if delta.get("reasoning_content") or delta.get("reasoning"):
        answer.thoughts += 1
    return ""


def _part_text(part: object) -> str:
    text = part.get("text") if isinstance(part, dict) else part
    return text if isinstance(text, str) else ""


def _read_usage(usage: dict[str, object], answer: Answer) -> None:
    answer.input_tokens = count(usage.get("prompt_tokens"), answer.input_tokens)
    answer.output_tokens = count(usage.get("completion_tokens"), answer.output_tokens)
    details = usage.get("completion_tokens_details")
    if isinstance(details, dict):
        answer.reasoning_tokens = (
            count(details.get("reasoning_tokens")) or answer.reasoning_tokens
        )
    details = usage.get("prompt_tokens_details")
    if isinstance(details, dict):
        answer.cached_tokens = (
            count(details.get("cached_tokens")) or answer.cached_tokens
        )
