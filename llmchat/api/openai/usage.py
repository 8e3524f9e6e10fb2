"""Token counts and costs, under the names that OpenAI's two APIs give them."""

from __future__ import annotations

from typing import Any

from llmchat.answers.events import Done


def completion_usage(done: Done) -> dict[str, Any]:
    """Return the usage of an answer as chat completions tell it."""
    usage, inputs = done.usage, done.usage.input_tokens or 0
    return {
        "prompt_tokens": inputs,
        "completion_tokens": usage.output_tokens,
        "total_tokens": inputs + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        **_cost(done),
    }


def response_usage(done: Done) -> dict[str, Any]:
    """Return the usage of an answer as responses tell it."""
    usage, inputs = done.usage, done.usage.input_tokens or 0
    return {
        "input_tokens": inputs,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": inputs + usage.output_tokens,
        **_cost(done),
    }


def _cost(done: Done) -> dict[str, float]:
    """Return the cost in US dollars, which OpenAI does not tell, where it is known."""
    return {} if done.cost is None else {"cost": float(done.cost)}
