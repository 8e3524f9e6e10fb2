"""The verdict on an answer whose body is over.

Whether what was read is a complete answer is decided here, once for all providers, and
only by the provider's own terminator or finish reason.
"""

from __future__ import annotations

import math
from dataclasses import replace

from .answerer import storable
from .errors import ContentFilteredError, EmptyAnswerError, ProviderError
from .reading import CHARS_PER_TOKEN, Reading, StopReason
from .text import decode_json, encode_json
from .types import Chat, ChatMessage, Finished, FinishReason, ToolCall, Usage

_CHARS_PER_CODE_TOKEN = 2  # the fewest in schemas and arguments
# Providers count pixels, which are not known here; none counts more for one image.
_TOKENS_PER_IMAGE = 5_000
# Answers that stop for these reasons may hold incomplete tool calls.
_CUT = frozenset({StopReason.LENGTH, StopReason.CONTENT_FILTER, StopReason.ERROR})


def conclude(reading: Reading, chat: Chat, attempts: int = 1) -> Finished:
    """Return the end of a stream whose body is over.

    Raises:
        ProviderError: the answer was cut, blocked, empty, or broke down.
    """
    calls = _calls(reading)
    _check(reading, calls)
    return Finished(
        reason=FinishReason.TOOL_CALLS if calls else _finish_reason(reading),
        usage=_usage(reading, chat),
        model=storable(reading.model),
        raw_reason=reading.raw_reason,
        attempts=attempts,
        tool_calls=calls,
    )


def usage_so_far(reading: Reading, chat: Chat) -> Usage | None:
    """Return what an answer that broke off is billed for, None if nothing is known.

    It is what the provider has counted, or else an estimate if it has sent thoughts or
    tool calls.
    """
    if (usage := reading.told_usage()) is not None:
        return _with_input(usage, chat)
    if not reading.thought_chars and not reading.calls.chars:
        return None
    inputs, outputs = estimate_input_tokens(chat), estimate_output_tokens(reading)
    return reading.usage_of(inputs, outputs, "estimated")


def estimate_input_tokens(chat: Chat) -> int:
    """Estimate the tokens of a request, for when the provider has not counted them.

    Whatever is not text is estimated high, since budgets are reserved by the result.
    Bytes are counted instead of characters, because scripts with fewer characters to a
    token have more bytes to a character.
    """
    size = sum(len(m.content.encode(errors="replace")) for m in chat.messages)
    tokens = size // CHARS_PER_TOKEN + len(chat.messages)
    tokens += sum(map(_tokens_besides, chat.messages))
    given = (chat.options.tools, chat.options.response_format)
    code = sum(map(_size, given))
    return tokens + code // _CHARS_PER_CODE_TOKEN


def estimate_output_tokens(reading: Reading) -> int:
    """Estimate the tokens of all output, for when the provider has not counted them.

    The number of pieces is a lower limit only: a piece may be a token or a sentence.
    """
    text = max(reading.deltas, math.ceil(reading.chars / CHARS_PER_TOKEN))
    return text + reading.thought_chars // CHARS_PER_TOKEN + reading.calls.tokens


def _size(value: object) -> int:
    try:
        return len(encode_json(value)) if value else 0
    except ValueError:
        return 0  # what is nested too deeply is never sent


def _tokens_besides(message: ChatMessage) -> int:
    """Estimate the tokens of what a message holds besides text."""
    calls = message.tool_calls
    code = sum(len(call.name) + len(call.arguments) for call in calls)
    images = len(message.images) * _TOKENS_PER_IMAGE
    return images + code // _CHARS_PER_CODE_TOKEN


def _calls(reading: Reading) -> tuple[ToolCall, ...]:
    """Return the tool calls of an answer, none if they may be incomplete.

    Raises:
        ProviderError: one of them is malformed, or broke off.
    """
    is_cut = not reading.is_complete or reading.stop_reason in _CUT
    if is_cut or reading.blocked or reading.refused:
        return ()
    calls = reading.calls.whole()
    if reading.stop_reason is None and not all(map(_is_json, calls)):
        # Some servers send a terminator even after an answer that broke off.
        raise ProviderError("a tool call was cut off", retryable=True)
    return calls


def _is_json(call: ToolCall) -> bool:
    try:
        decode_json(call.arguments.encode())
    except ValueError:
        return False
    return True


def _check(reading: Reading, calls: tuple[ToolCall, ...]) -> None:
    reason = _printable(reading.raw_reason or "none")
    if not reading.is_complete:
        raise ProviderError("ended without a finish reason", retryable=True)
    if reading.stop_reason is StopReason.ERROR:
        raise ProviderError(f"finish reason {reason}", retryable=True)
    if not reading.deltas and not calls:
        _refuse_silence(reading, reason)


def _refuse_silence(reading: Reading, reason: str) -> None:
    filtered = reading.stop_reason is StopReason.CONTENT_FILTER
    if reading.blocked or reading.refused or filtered:
        raise ContentFilteredError(f"finish reason {reason}")
    if reading.stop_reason is StopReason.TOOL:
        # A model that was given tools may do better in the next attempt.
        raise ProviderError(
            f"finish reason {reason} without text", retryable=reading.has_tools
        )
    # The limit would cut the next attempt too, after as many thoughts and tokens.
    may_pass = reading.stop_reason is not StopReason.LENGTH
    raise EmptyAnswerError(f"finish reason {reason}", retryable=may_pass)


def _finish_reason(reading: Reading) -> FinishReason:
    if reading.refused or reading.blocked:
        return FinishReason.CONTENT_FILTER
    if reading.stop_reason is None or reading.stop_reason is StopReason.TOOL:
        return FinishReason.OTHER
    return FinishReason(reading.stop_reason.value)


def _usage(reading: Reading, chat: Chat) -> Usage:
    inputs, outputs = reading.counted
    is_uncounted = inputs is None and outputs is None
    if is_uncounted and (split := reading.split_total()) is not None:
        return split
    if outputs is None:
        inputs = estimate_input_tokens(chat) if inputs is None else inputs
        return reading.usage_of(inputs, estimate_output_tokens(reading), "estimated")
    return _with_input(reading.usage_of(inputs, outputs, "provider"), chat)


def _with_input(usage: Usage, chat: Chat) -> Usage:
    """Return a usage with its input estimated if the provider has not counted it."""
    if usage.input_tokens is not None:
        return usage
    inputs = estimate_input_tokens(chat)
    return replace(usage, input_tokens=inputs, source="estimated")


def _printable(reason: str) -> str:
    return "".join(c for c in reason[:40] if c.isalnum() or c in "_-")
