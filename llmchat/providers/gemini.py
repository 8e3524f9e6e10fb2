"""Google's Gemini, `streamGenerateContent` with `alt=sse`.

Each event is a whole response with a piece of the text. There is no terminator: the
answer is complete when the body ends and some event had a finish reason. Old models
put one on every event, so it never ends the reading. An error in mid-stream comes as
bare JSON that is no server-sent event; the reader keeps those lines.
"""

from __future__ import annotations

from urllib.parse import quote

from .answer import Answer, Ending, count
from .classify import error_in, is_error
from .errors import ProviderError
from .request import (
    History,
    ProviderRequest,
    build_history,
    endpoint,
    max_tokens,
    temperature,
)
from .text import decode_json
from .types import Chat, Key, Provider

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
_ENDINGS = {
    "STOP": Ending.STOP,
    "MAX_TOKENS": Ending.LENGTH,
    "MALFORMED_RESPONSE": Ending.ERROR,
    **dict.fromkeys(_FILTERED, Ending.CONTENT_FILTER),
    **dict.fromkeys(_TOOL, Ending.TOOL),
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
    url = endpoint(provider.base_url, path, version="v1beta")
    return ProviderRequest(f"{url}?alt=sse", headers, body)


def parse(name: bytes, data: bytes, answer: Answer) -> str:
    """Return the text of one event and note in `answer` what else it says.

    Raises:
        ProviderError: the event is an error, or is not JSON.
    """
    if not data.strip():
        return ""
    try:
        response = decode_json(data)
    except ValueError as exc:
        raise ProviderError("event is not JSON", retryable=True) from exc
    if not isinstance(response, dict) or is_error(response):
        raise error_in(response)
    return _read(response, answer)


def parse_whole(body: object, answer: Answer) -> str:
    """Return the text of an answer that came in one piece, unstreamed."""
    if isinstance(body, list) and not is_error(body):
        raise ProviderError("a JSON array: the address lacks alt=sse")
    if not isinstance(body, dict) or is_error(body):
        raise error_in(body)
    return _read(body, answer)


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


def _read(response: dict[str, object], answer: Answer) -> str:
    if isinstance(model := response.get("modelVersion"), str):
        answer.model = model
    if isinstance(usage := response.get("usageMetadata"), dict):
        _read_usage(usage, answer)
    feedback = response.get("promptFeedback")
    if isinstance(feedback, dict) and (reason := feedback.get("blockReason")):
        answer.blocked = True
        answer.raw_reason = str(reason)
    candidates = response.get("candidates")
    if not isinstance(candidates, list) or not candidates:
        return ""
    return _read_candidate(candidates[0], answer)


def _read_candidate(candidate: object, answer: Answer) -> str:
    if not isinstance(candidate, dict):
        return ""
    if isinstance(reason := candidate.get("finishReason"), str) and reason:
        answer.raw_reason = reason
        answer.ending = _ENDINGS.get(reason, Ending.OTHER)
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list):
        return ""
    return "".join(_part_text(part, answer) for part in parts)


def _part_text(part: object, answer: Answer) -> str:
    if not isinstance(part, dict):
        return ""
    text = part.get("text")
    if not isinstance(text, str):
        return ""
    if part.get("thought"):
        answer.thoughts += 1
        return ""
    return text


def _read_usage(usage: dict[str, object], answer: Answer) -> None:
    answer.input_tokens = count(usage.get("promptTokenCount"), answer.input_tokens)
    visible = count(usage.get("candidatesTokenCount"))
    thoughts = count(usage.get("thoughtsTokenCount"))
    if thoughts is not None:
        answer.reasoning_tokens = thoughts
    if visible is not None:
        answer.output_tokens = visible + answer.reasoning_tokens
    answer.cached_tokens = (
        count(usage.get("cachedContentTokenCount")) or answer.cached_tokens
    )
