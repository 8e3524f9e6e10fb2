"""Token counts and costs, under the names that OpenAI's two APIs give them."""

from __future__ import annotations

from typing import Any

from llmchat.answers.events import End
from llmchat.providers.types import Usage

_NOTHING = Usage(0, 0, "estimated")


def is_billed(end: End) -> bool:
    """Return whether any tokens were counted for an answer, however it ended."""
    usage = end.usage or _NOTHING
    return bool(usage.input_tokens or usage.output_tokens)


def completion_usage(end: End) -> dict[str, Any]:
    """Return the usage of an answer as chat completions report it."""
    usage = end.usage or _NOTHING
    inputs = usage.input_tokens or 0
    return {
        "prompt_tokens": inputs,
        "completion_tokens": usage.output_tokens,
        "total_tokens": inputs + usage.output_tokens,
        "prompt_tokens_details": _cached(usage),
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        **_cost(end),
    }


def response_usage(end: End) -> dict[str, Any]:
    """Return the usage of an answer as responses report it."""
    usage = end.usage or _NOTHING
    inputs = usage.input_tokens or 0
    return {
        "input_tokens": inputs,
        "input_tokens_details": _cached(usage),
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": inputs + usage.output_tokens,
        **_cost(end),
    }


def _cached(usage: Usage) -> dict[str, int]:
    return {
        "cached_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
    }


def _cost(end: End) -> dict[str, float]:
    """Return the cost in US dollars, if known; OpenAI has no such field."""
    return {} if end.cost is None else {"cost": float(end.cost)}
