"""The counts in OpenAI's `usage`, and in that of servers which count differently.

OpenAI includes cached tokens in the input, and reasoning in the output. Some servers
count one of them separately, which the names of the fields or the total reveal. Some
count reasoning only in the total.
"""

from __future__ import annotations

from collections.abc import Mapping

from .reading import Reading, as_dict, count

_Counts = Mapping[str, object]
# Where the parts of the input are counted: OpenAI, Kimi, DeepSeek, Anthropic's names.
_READS = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
_WRITES = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
_OF_CREATION = ("cache_creation", "cache_creation_token_details")
_DETAILS = (
    "prompt_tokens_details",
    "input_tokens_details",
    "completion_tokens_details",
    "output_tokens_details",
)
# If anything was counted, one of these is above zero, mostly one of `_COMMON`.
_COMMON = ("prompt_tokens", "completion_tokens", "total_tokens")
_COUNTED = frozenset(
    (
        "input_tokens",
        "prompt_cache_miss_tokens",
        "output_tokens",
        "reasoning_tokens",
        *_COMMON,
        *_READS,
        *_WRITES,
    )
)


def read_usage(usage: _Counts, reading: Reading) -> None:
    """Note the counts in a `usage`; those that it leaves out stay as they were.

    A `usage` of nothing but zeros is a placeholder, which some servers put on every
    chunk.
    """
    if not any(map(count, map(usage.get, _COMMON))) and _is_placeholder(usage):
        return
    details = as_dict(usage.get("prompt_tokens_details"))
    details = details or as_dict(usage.get("input_tokens_details"))
    _note_input(usage, details, reading)
    _note_output(usage, reading)
    if (total := count(usage.get("total_tokens"))) is not None:
        reading.note_total(total)


def _is_placeholder(usage: _Counts) -> bool:
    places = (usage, *(as_dict(usage.get(name)) for name in _DETAILS))
    counted = (place[name] for place in places for name in _COUNTED & place.keys())
    return not any(map(count, counted))


def _note_input(usage: _Counts, details: _Counts, reading: Reading) -> None:
    reads, writes = _first(_READS, details, usage), _first(_WRITES, details, usage)
    inputs, cached = count(usage.get("prompt_tokens")), (reads or 0) + (writes or 0)
    if inputs is None:
        inputs = _other_input(usage, reads, writes)
    elif _is_cache_beside(usage, inputs, cached):
        inputs += cached
    if inputs is not None:
        reading.input_tokens = inputs
    if reads is not None:
        reading.cache_read_tokens = reads
    if writes is not None:
        reading.cache_write_tokens = writes
    for name in _OF_CREATION:
        creation = as_dict(details.get(name)) or as_dict(usage.get(name))
        if (kept := count(creation.get("ephemeral_1h_input_tokens"))) is not None:
            reading.cache_write_long_tokens = kept


def _other_input(usage: _Counts, reads: int | None, writes: int | None) -> int | None:
    """Return the whole input if it goes by another name, or comes in parts."""
    inputs = count(usage.get("input_tokens"))
    if inputs is not None and not _is_inside(usage):
        inputs += (reads or 0) + (writes or 0)
    misses = count(usage.get("prompt_cache_miss_tokens"))
    if inputs is None and misses is not None:
        return misses + (reads or 0)
    return inputs


def _is_cache_beside(usage: _Counts, inputs: int, cached: int) -> bool:
    """Whether cached tokens are not part of `prompt_tokens`, as with some gateways.

    If so, the total includes them in addition, and the surplus is not an equal number
    of reasoning tokens. Or they have Anthropic's names, and are more than
    `prompt_tokens` could include.
    """
    outputs = count(usage.get("completion_tokens"), 0) or 0
    total = count(usage.get("total_tokens"))
    has_all = total == inputs + cached + outputs and _thoughts(usage) != cached
    return bool(cached) and (has_all or (cached > inputs and not _is_inside(usage)))


def _is_inside(usage: _Counts) -> bool:
    """Whether `input_tokens` includes cached tokens: not next to Anthropic's names."""
    anthropic = ("cache_read_input_tokens", "cache_creation_input_tokens")
    return not any(name in usage for name in anthropic)


def _note_output(usage: _Counts, reading: Reading) -> None:
    outputs = count(usage.get("completion_tokens"), count(usage.get("output_tokens")))
    thoughts = _thoughts(usage)
    if outputs == 0 and not thoughts and reading.output_tokens:
        return  # a placeholder, which must not undo a count
    if thoughts is not None:
        reading.reasoning_tokens = thoughts
    if outputs is None:
        return
    if thoughts and _is_beside(usage, outputs, thoughts):
        outputs += thoughts
    elif not thoughts and (hidden := _hidden(usage, outputs, reading)):
        outputs += hidden
        reading.reasoning_tokens = hidden
    reading.output_tokens, reading.counted_chars = outputs, None


def _thoughts(usage: _Counts) -> int | None:
    details = as_dict(usage.get("completion_tokens_details"))
    details = details or as_dict(usage.get("output_tokens_details"))
    return count(details.get("reasoning_tokens"))


def _is_beside(usage: _Counts, outputs: int, thoughts: int) -> bool:
    """Whether the total counts reasoning in addition to the output, as xAI does."""
    inputs = count(usage.get("prompt_tokens"), count(usage.get("input_tokens")))
    return count(usage.get("total_tokens")) == (inputs or 0) + outputs + thoughts


def _hidden(usage: _Counts, outputs: int, reading: Reading) -> int:
    """Return the tokens that only the total counts: thoughts, as some do for Gemini.

    Cached tokens, which some servers count in addition to the input, do not qualify.
    """
    total, inputs = count(usage.get("total_tokens"), 0), reading.input_tokens
    rest = (total or 0) - (inputs or 0) - outputs
    cached = (reading.cache_read_tokens, reading.cache_write_tokens)
    return rest if inputs and rest > 0 and rest not in cached else 0


def _first(names: tuple[str, ...], *places: _Counts) -> int | None:
    """Return the first of these counts that is there, None if there is none."""
    counts = (count(place.get(name)) for place in places for name in names)
    return next((tokens for tokens in counts if tokens is not None), None)
