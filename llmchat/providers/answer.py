"""One answer while it comes in, and the verdict on it when the body has ended.

An adapter's `parse` writes into an `Answer` what the provider says about the answer
and returns the text. Whether that makes a whole answer is decided here, once for
all providers: only on the provider's own terminator or finish reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from .errors import ContentFilteredError, EmptyAnswerError, ProviderError
from .types import Chat, Finished, FinishReason, Usage

_CHARS_PER_TOKEN = 4  # of English text; other scripts have fewer
# What a provider says of an answer is stored in columns of so many characters and
# of 32 bits, which hold the sum of all attempts at an answer too.
_MAX_MODEL_CHARS = 128
_MAX_COUNT = 100_000_000


class Ending(StrEnum):
    """How a provider says that its answer ended, over all providers."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    OTHER = "other"
    TOOL = "tool"  # it wants to call a tool, though it was given none
    ERROR = "error"  # it broke down and says so in the finish reason


@dataclass(slots=True)
class Answer:
    """What a provider has said about its answer so far.

    `raw_reason` is its finish reason, "" before one was seen; `ended` that its
    terminator was seen; `thoughts` counts events of reasoning, which are progress
    but no text. Token counts are cumulative: each new one replaces the last; `counts`
    is where an adapter keeps those that are parts of a sum.
    """

    model: str = ""
    ident: str = ""
    raw_reason: str = ""
    ending: Ending | None = None
    refused: bool = False
    blocked: bool = False
    ended: bool = False
    thoughts: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether the provider has said that the answer is whole."""
        return self.ended or self.ending is not None or self.blocked


def conclude(answer: Answer, chat: Chat, deltas: int, attempts: int = 1) -> Finished:
    """Return the end of a stream whose body is over, after `deltas` pieces of text.

    Raises:
        ProviderError: the answer was cut, blocked, empty, or broke down.
    """
    try:
        _check(answer, deltas)
    except ProviderError as error:
        error.usage = _counted(answer, deltas)
        raise
    return Finished(
        reason=_finish_reason(answer),
        usage=_usage(answer, chat, deltas),
        model=_storable(answer.model),
        raw_reason=answer.raw_reason,
        attempts=attempts,
    )


def count(value: object, default: int | None = None) -> int | None:
    """Return a provider's token count, `default` where it is none."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return min(value, _MAX_COUNT)
    return default


def _check(answer: Answer, deltas: int) -> None:
    reason = _printable(answer.raw_reason or "none")
    if not answer.is_complete:
        raise ProviderError("ended without a finish reason", retryable=True)
    if answer.ending is Ending.ERROR:
        raise ProviderError(f"finish reason {reason}", retryable=True)
    if not deltas:
        _refuse_silence(answer, reason)


def _refuse_silence(answer: Answer, reason: str) -> None:
    if answer.blocked or answer.refused or answer.ending is Ending.CONTENT_FILTER:
        raise ContentFilteredError(f"finish reason {reason}")
    if answer.ending is Ending.TOOL:
        raise ProviderError(f"finish reason {reason} without text")
    raise EmptyAnswerError(f"finish reason {reason}")


def _finish_reason(answer: Answer) -> FinishReason:
    if answer.refused or answer.blocked:
        return FinishReason.CONTENT_FILTER
    if answer.ending is None or answer.ending is Ending.TOOL:
        return FinishReason.OTHER
    return FinishReason(answer.ending.value)


def _usage(answer: Answer, chat: Chat, deltas: int) -> Usage:
    if answer.output_tokens is not None:
        return Usage(
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            source="provider",
            reasoning_tokens=answer.reasoning_tokens,
            cached_tokens=answer.cached_tokens,
        )
    if answer.input_tokens is not None:
        return Usage(answer.input_tokens, deltas, "estimated")
    return Usage(estimate_input_tokens(chat), deltas, "estimated")


def _counted(answer: Answer, deltas: int) -> Usage | None:
    """Return what the provider has counted of a failed answer, None: nothing.

    Its count may date from before the text, so that is at least what was seen of it.
    """
    if answer.input_tokens is None and answer.output_tokens is None:
        return None
    return Usage(
        input_tokens=answer.input_tokens,
        output_tokens=max(answer.output_tokens or 0, deltas),
        source="provider",
        reasoning_tokens=answer.reasoning_tokens,
        cached_tokens=answer.cached_tokens,
    )


def estimate_input_tokens(chat: Chat) -> int:
    """Guess the tokens of a request whose provider has counted none."""
    chars = sum(len(message.content) for message in chat.messages)
    return chars // _CHARS_PER_TOKEN + len(chat.messages)


def _storable(model: str) -> str:
    """Return a model's name as every database takes it: no NUL, no lone surrogates."""
    text = model.replace("\0", "").encode(errors="ignore").decode()
    return text[:_MAX_MODEL_CHARS]


def _printable(reason: str) -> str:
    return "".join(c for c in reason[:40] if c.isalnum() or c in "_-")
