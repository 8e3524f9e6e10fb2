"""What an adapter has read of an answer while it arrives.

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

# A provider's counts are stored in columns of 32 bits, which also hold the sums over
# all attempts at an answer.
_MAX_COUNT = 100_000_000
# In English text; other scripts have fewer.
CHARS_PER_TOKEN = 4


class StopReason(StrEnum):
    """Why a provider says that its answer stopped, in terms common to all providers."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    OTHER = "other"
    TOOL = "tool"  # it wants to call a tool, or has failed to
    ERROR = "error"  # it broke down and says so in the finish reason


@dataclass(slots=True)
class Reading:
    """What a provider has said of its answer so far.

    `raw_reason` is its finish reason, "" before one was seen. `ended` says that its
    terminator was seen. `deltas` counts the pieces of text, `thoughts` those of
    reasoning and tool calls, which are progress but not text. `chars` counts the
    characters of the text, `thought_chars` those of reasoning. `counted_chars` says how
    many of all characters the last count of output tokens covers, None if that count
    came with text that is not added yet.

    Token counts are cumulative: each new one replaces the last. In `counts` an adapter
    keeps counts that are parts of a sum. `input_tokens` is the whole input, of which
    the tokens of the cache are a part. `total_tokens` comes in addition to the other
    counts, and with some servers instead of them.

    `has_tools` says that the model was given tools; without them it calls none,
    whatever it says. `may_be_bare` says that an event may hold nothing but a piece of
    text. `is_early` says that text came after the finish reason, `block_open` whether a
    block of content is open, None before the first block. `refusal_is_free` says that
    the model has refused, and that this is billed only if output came before it.
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
        """A value that changes with each piece of text or thought, not with a ping."""
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
        """Note a piece of text by its number of characters."""
        self.deltas += 1
        self.chars += length
        if self.counted_chars is None:
            self.counted_chars = self.seen_chars

    def note_total(self, tokens: int) -> None:
        """Note a count of input and output together, after the counts of each.

        A count of zero is a placeholder.
        """
        if not tokens:
            return
        self.total_tokens = tokens
        if self.counted[1] is not None:
            self.counted_chars = None

    @property
    def seen_chars(self) -> int:
        """How many characters text, reasoning and tool calls have together."""
        return self.chars + self.thought_chars + self.calls.chars

    def uncounted_tokens(self, counted: int | None) -> int:
        """Estimate the tokens that came after the provider's last count of output."""
        if counted is None:
            return self.seen_chars // CHARS_PER_TOKEN
        if self.counted_chars is None:
            return 0
        return (self.seen_chars - self.counted_chars) // CHARS_PER_TOKEN

    def told_usage(self) -> Usage | None:
        """Return what the provider has counted so far, None for nothing.

        Its count of output may be older than some of the text, so it is raised to at
        least what was seen. The input is None if only the output was counted.
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

        A zero does not count as one once output was seen: servers put zeros on each
        chunk until they have counted. An input of zero is believed if the output was
        counted.
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
            # A total that is no larger counts only the input, not the output.
            outputs = total - inputs
        return inputs, outputs

    def split_total(self) -> Usage | None:
        """Return the usage if only a total was counted, None if there is none.

        The output is estimated, and the rest of the total is taken for the input.
        """
        if self.total_tokens is None:
            return None
        seen = (self.chars + self.thought_chars) // CHARS_PER_TOKEN
        outputs = max(seen + self.calls.tokens, self.deltas)
        outputs = min(outputs, self.total_tokens)
        return self.usage_of(self.total_tokens - outputs, outputs, "estimated")

    def usage_of(self, inputs: int | None, outputs: int, source: Source) -> Usage:
        """Return these counts as a `Usage`, with the parts that the provider counts.

        A part is never larger than the whole, whatever the provider says.
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
    """Return a provider's token count, rounded, or `default` if it is not a count."""
    if isinstance(value, float) and math.isfinite(value):
        value = math.floor(value + 0.5)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return min(value, _MAX_COUNT)
    return default


def as_dict(value: object) -> Mapping[str, object]:
    """Return a JSON object, or an empty one if the value is something else."""
    return value if isinstance(value, dict) else {}


def first_candidate(candidates: object) -> Mapping[str, object] | None:
    """Return the candidate that is the answer, None if the event has no part of it.

    It is the one with index 0, or with none, since some servers leave it out. Other
    candidates may come beside it or in events of their own, at any place in the list.
    """
    for candidate in candidates if isinstance(candidates, list) else ():
        if isinstance(candidate, dict) and not candidate.get("index"):
            return candidate
    return None
