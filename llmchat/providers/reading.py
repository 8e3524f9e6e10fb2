"""One answer while it comes in, as its adapter reads it.

An adapter's `parse` returns the text of an event and notes everything else that the
provider says in a `Reading`. What becomes of that is decided in `answer.py`, once for
all providers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .calls import CallParts
from .types import Source, Usage

# What a provider says of an answer is stored in columns of 32 bits, which hold the
# sum of all attempts at an answer too.
_MAX_COUNT = 100_000_000
# Of English text; other scripts have fewer.
CHARS_PER_TOKEN = 4


class StopReason(StrEnum):
    """Why a provider says that its answer stopped, over all providers."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    OTHER = "other"
    TOOL = "tool"  # it wants to call a tool, or has failed to
    ERROR = "error"  # it broke down and says so in the finish reason


@dataclass(slots=True)
class Reading:
    """What a provider has said of its answer so far.

    `raw_reason` is its finish reason, "" before one was seen; `ended` that its
    terminator was seen; `deltas` counts the pieces of text, `thoughts` those of
    reasoning and tool calls, which are progress but no text. Token counts are
    cumulative: each new one replaces the last; `counts` is where an adapter keeps those
    that are parts of a sum. `chars` are those of the text, `thought_chars` those of
    reasoning, and `counted_chars` those of both that the count of output tokens is of:
    None where it came with text that is not added yet.

    `has_tools` says that the model was given tools; without them it calls none,
    whatever it says. `may_be_bare` says that an event may hold a piece of text alone.
    `is_early` says that text came after the finish reason, `block_open` whether a block
    of content is, None before the first. `refusal_is_free` says that it has refused,
    and bills that only where something came before it. `input_tokens` are all of the
    input, and those of the cache are a part of them; `total_tokens` are told beside
    the others, and by some servers alone.
    """

    has_tools: bool = False
    may_be_bare: bool = False
    model: str = ""
    ident: str = ""
    fingerprint: str = ""
    raw_reason: str = ""
    stop_reason: StopReason | None = None
    is_early: bool = False
    refused: bool = False
    refusal_is_free: bool = False
    blocked: bool = False
    ended: bool = False
    block_open: bool | None = None
    nothing_follows: bool = False
    deltas: int = 0
    chars: int = 0
    thoughts: int = 0
    thought_chars: int = 0
    counted_chars: int | None = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_long_tokens: int = 0
    total_tokens: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    calls: CallParts = field(default_factory=CallParts)

    @property
    def is_complete(self) -> bool:
        """Whether the provider has said that the answer is whole."""
        return self.ended or self.stop_reason is not None or self.blocked

    @property
    def progress(self) -> tuple[object, ...]:
        """What changes with each piece of text or thought, and with no ping."""
        return self.deltas, self.thoughts, self.reasoning_tokens, self.is_complete

    def add_call(
        self,
        index: object,
        ident: object = None,
        name: object = None,
        arguments: object = None,
        *,
        default: object = None,
    ) -> None:
        """Note a piece of a tool call, as `CallParts.add` does."""
        if self.has_tools:
            self.thoughts += 1
            self.calls.add(index, ident, name, arguments, default=default)

    def stop(self, raw_reason: str, reason: StopReason) -> None:
        """Note a finish reason."""
        self.raw_reason = raw_reason
        self.stop_reason = reason
        self.is_early = False

    def add_thought(self, text: object) -> None:
        """Note a piece of reasoning, whose text may be hidden."""
        self.thoughts += 1
        if isinstance(text, str):
            self.thought_chars += len(text)

    def add_text(self, length: int) -> None:
        """Note a piece of text of so many characters."""
        self.deltas += 1
        self.chars += length
        if self.counted_chars is None:
            self.counted_chars = self.seen_chars

    def note_total(self, tokens: int) -> None:
        """Note a count of input and output together, behind those of each.

        That of nothing is a placeholder.
        """
        if not tokens:
            return
        self.total_tokens = tokens
        if self.counted[1] is not None:
            self.counted_chars = None

    @property
    def seen_chars(self) -> int:
        """How long text, reasoning and tool calls are together."""
        return self.chars + self.thought_chars + self.calls.chars

    def uncounted_tokens(self, counted: int | None) -> int:
        """Return a guess of what came behind the provider's last count of output."""
        if counted is None:
            return self.seen_chars // CHARS_PER_TOKEN
        if self.counted_chars is None:
            return 0
        return (self.seen_chars - self.counted_chars) // CHARS_PER_TOKEN

    def told_usage(self) -> Usage | None:
        """Return what the provider has counted so far, None: nothing.

        Its count may date from before the text, so it is at least what was seen. The
        input is None where it has counted the output alone.
        """
        inputs, counted = self.counted
        if inputs is None and counted is None:
            return self.split_total()
        more = self.uncounted_tokens(counted)
        outputs = max((counted or 0) + more, self.deltas)
        source: Source = "estimated" if more else "provider"
        return self.usage_of(inputs, outputs, source)

    @property
    def counted(self) -> tuple[int | None, int | None]:
        """The provider's counts of input and output, or what its total says of one.

        A zero is none where something was seen: servers put it on each chunk until
        they have counted. An input of zero is believed beside a count of output.
        """
        inputs, outputs = self.input_tokens, self.output_tokens
        if not outputs and self.seen_chars:
            outputs = None
        if not inputs and outputs is None:
            inputs = None
        total = self.total_tokens
        if total is None:
            return inputs, outputs
        if inputs is None and outputs is not None and total > outputs:
            inputs = total - outputs
        elif inputs is not None and outputs is None and total > inputs:
            # Else it is that of the one alone, and says nothing of the other.
            outputs = total - inputs
        return inputs, outputs

    def split_total(self) -> Usage | None:
        """Return what a provider has counted that tells nothing but the total."""
        if self.total_tokens is None:
            return None
        seen = (self.chars + self.thought_chars) // CHARS_PER_TOKEN
        outputs = max(seen + self.calls.tokens, self.deltas)
        outputs = min(outputs, self.total_tokens)
        return self.usage_of(self.total_tokens - outputs, outputs, "estimated")

    def usage_of(self, inputs: int | None, outputs: int, source: Source) -> Usage:
        """Return counts with the parts that the provider tells of them.

        A part is never larger than what it is a part of, whatever the provider says.
        """
        reads = min(self.cache_read_tokens, inputs or 0)
        writes = min(self.cache_write_tokens, (inputs or 0) - reads)
        return Usage(
            input_tokens=inputs,
            output_tokens=outputs,
            source=source,
            reasoning_tokens=min(self.reasoning_tokens, outputs),
            cache_read_tokens=reads,
            cache_write_tokens=writes,
            cache_write_long_tokens=min(self.cache_write_long_tokens, writes),
            is_free=self.refusal_is_free and not self.has_output,
            has_output=self.has_output,
        )

    @property
    def has_output(self) -> bool:
        """Whether any output came, or was counted as reasoning."""
        came = self.deltas or self.thoughts or self.calls.count
        return bool(came or self.reasoning_tokens)


def count(value: object, default: int | None = None) -> int | None:
    """Return a provider's token count, rounded, `default` where it is none."""
    if isinstance(value, float) and math.isfinite(value):
        value = math.floor(value + 0.5)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return min(value, _MAX_COUNT)
    return default


def as_dict(value: object) -> Mapping[str, object]:
    """Return an object of JSON, an empty one where it is something else."""
    return value if isinstance(value, dict) else {}


def first_candidate(candidates: object) -> Mapping[str, object] | None:
    """Return the candidate that is the answer, None where the event has none of it.

    That is the one of index 0, which some servers leave out. Others may come beside it
    or in events of their own, whatever their place in the list.
    """
    for candidate in candidates if isinstance(candidates, list) else ():
        if isinstance(candidate, dict) and not candidate.get("index"):
            return candidate
    return None
