"""Anthropic's Messages API.

Every event names its type in the JSON too, and that one is read. Unknown types of
events, blocks and deltas are passed over, as the API's versioning asks. Text may come
in any block, thinking before it; usage is cumulative and may come more than once.
"""

from __future__ import annotations

from collections.abc import Mapping

from .answer import Answer, Ending, count
from .classify import error_in
from .errors import ProviderError
from .request import ProviderRequest, build_history, endpoint, max_tokens, temperature
from .text import decode_json
from .types import Chat, Key, Provider

API_VERSION = "2023-06-01"
DEFAULT_MAX_TOKENS = 8192  # the field is required, whatever the client says

_INPUT_COUNTS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)
_ENDINGS = {
    "end_turn": Ending.STOP,
    "stop_sequence": Ending.STOP,
    "pause_turn": Ending.STOP,
    "max_tokens": Ending.LENGTH,
    "model_context_window_exceeded": Ending.LENGTH,
    "refusal": Ending.CONTENT_FILTER,
    "tool_use": Ending.TOOL,
}


def build_request(provider: Provider, key: Key | None, chat: Chat) -> ProviderRequest:
    """Return the request for a streamed answer.

    Raises:
        ProviderError: the chat or the provider's address cannot be sent.
    """
    history = build_history(chat)
    body: dict[str, object] = {
        "model": chat.model,
        "max_tokens": max_tokens(provider, chat) or DEFAULT_MAX_TOKENS,
        "messages": [{"role": m.role, "content": m.content} for m in history.turns],
        "stream": True,
    }
    if history.system:
        body["system"] = history.system
    if (degree := temperature(provider, chat)) is not None:
        body["temperature"] = min(degree, 1.0)
    headers = {"anthropic-version": API_VERSION}
    if key:
        headers["x-api-key"] = key.value
    url = endpoint(provider.base_url, "/messages", version="v1")
    return ProviderRequest(url, headers, body)


def parse(name: bytes, data: bytes, answer: Answer) -> str:
    """Return the text of one event and note in `answer` what else it says.

    Raises:
        ProviderError: the event is an error, is not JSON, or breaks the sequence.
    """
    if not data.strip():
        return ""
    try:
        event = decode_json(data)
    except ValueError as exc:
        raise ProviderError("event is not JSON", retryable=True) from exc
    if not isinstance(event, dict):
        raise error_in(event)
    kind = event.get("type")
    if kind == "content_block_delta":
        return _read_delta(event.get("delta"), answer)
    if kind == "error" or name == b"error" or event.get("error"):
        raise error_in(event)
    if kind == "content_block_start":
        return _text_of(event.get("content_block"))
    if kind == "message_start":
        _start(_dict(event.get("message")), answer)
        answer.output_tokens = None  # a placeholder, the count comes at the end
    elif kind == "message_delta":
        _read_usage(_dict(event.get("usage")), answer)
        _end(_dict(event.get("delta")), answer)
    elif kind == "message_stop":
        answer.ended = True
    return ""


def parse_whole(body: object, answer: Answer) -> str:
    """Return the text of an answer that came in one piece, unstreamed."""
    if not isinstance(body, dict) or body.get("type") == "error" or body.get("error"):
        raise error_in(body)
    _start(body, answer)
    _end(body, answer)
    content = body.get("content")
    return "".join(map(_text_of, content)) if isinstance(content, list) else ""


def _start(message: Mapping[str, object], answer: Answer) -> None:
    ident = message.get("id")
    if isinstance(ident, str) and ident:
        # The same start twice has been seen and is harmless; another one means
        # that two answers are mixed up in one stream.
        if answer.ident and answer.ident != ident:
            raise ProviderError("a second message in one stream")
        answer.ident = ident
    if isinstance(model := message.get("model"), str):
        answer.model = model
    _read_usage(_dict(message.get("usage")), answer)


def _read_delta(delta: object, answer: Answer) -> str:
    if not isinstance(delta, dict):
        return ""
    kind = delta.get("type")
    if kind == "text_delta":
        text = delta.get("text")
        return text if isinstance(text, str) else ""
    if kind == "thinking_delta":
        answer.thoughts += 1
    return ""


def _text_of(block: object) -> str:
    if not isinstance(block, dict) or block.get("type") != "text":
        return ""
    text = block.get("text")
    return text if isinstance(text, str) else ""


def _end(delta: Mapping[str, object], answer: Answer) -> None:
    reason = delta.get("stop_reason")
    if isinstance(reason, str) and reason:
        answer.raw_reason = reason
        answer.ending = _ENDINGS.get(reason, Ending.OTHER)


def _read_usage(usage: Mapping[str, object], answer: Answer) -> None:
    # Each count is cumulative and may be corrected alone, later on.
    for name in _INPUT_COUNTS:
        if (tokens := count(usage.get(name))) is not None:
            answer.counts[name] = tokens
    if "input_tokens" in answer.counts:
        answer.input_tokens = sum(answer.counts.values())
    answer.cached_tokens = answer.counts.get("cache_read_input_tokens", 0)
    answer.output_tokens = count(usage.get("output_tokens"), answer.output_tokens)
    details = _dict(usage.get("output_tokens_details"))
    answer.reasoning_tokens = (
        count(details.get("thinking_tokens")) or answer.reasoning_tokens
    )


def _dict(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
