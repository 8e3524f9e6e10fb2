"""What a provider does not accept in a request, in words that help an operator.

If a model does not support something, the error looks like any other bad request: its
status, type and code are the same. Only the wording differs, which is matched here and
not repeated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import BadRequestError

_REFUSED = (
    r"(not supported|unsupported|not permitted|not allowed|deprecated|not accept)"
)
_NO_SUPPORT = r"(does not support|doesn't support|do not support|no support for)"


@dataclass(frozen=True, slots=True)
class Hint:
    """A sentence for the user, and what an operator can do about the problem."""

    pattern: re.Pattern[str]
    text: str
    advice: str


def _hint(pattern: str, text: str, advice: str) -> Hint:
    return Hint(re.compile(pattern), text, advice)


def _about(what: str, *others: str) -> str:
    """Return the pattern of a refusal that has the name of `what` near it.

    A path into `what` is about one of its fields, not about the whole.
    """
    near = (
        rf"{what}\b(?![\[.]).{{0,80}}{_REFUSED}",
        rf"{_REFUSED}[^.]{{0,40}}\b{what}",
    )
    return "|".join((*near, rf"{_NO_SUPPORT}[^.]{{0,40}}\b{what}", *others))


# The first one that matches is used.
_HINTS = (
    _hint(
        r"reasoning_content",
        "This model supports tools only together with its earlier reasoning",
        "turn off thinking in the provider's settings, or ask without tools",
    ),
    _hint(
        r"verified to stream",
        "The provider does not let this account stream this model",
        "verify the account with the provider, or choose another model",
    ),
    _hint(
        r"max_completion_tokens",
        "This model expects the token limit under another name",
        "set the token limit parameter of the provider to max_completion_tokens",
    ),
    _hint(
        _about(r"(function tools?|tools?|tool_choice|tool use|function calling)"),
        "This model does not support tools in this API",
        "choose another model for tools; OpenAI's newer models support them only in "
        "the Responses API",
    ),
    _hint(
        _about(r"['`\"]?(temperature|top_p|top_k)['`\"]?"),
        "This model does not support a temperature",
        "turn off temperatures in the provider's settings",
    ),
    _hint(
        r"stream_options|include_usage",
        "This server does not support the request for token counts",
        "turn off token counts in the provider's settings",
    ),
    _hint(
        _about(r"['`\"]?(system|developer)['`\"]?( role| messages?)?"),
        "This model does not support a system message with this role",
        "choose the other role for system prompts in the provider's settings",
    ),
    _hint(
        _about(r"(image_url|images?|vision)", r"only supported by certain models"),
        "This model does not support images",
        "choose another model for images",
    ),
    _hint(
        _about(r"(response_format|json_schema|structured outputs?|output_config)"),
        "This model does not support this response_format",
        "choose another model for structured output",
    ),
    _hint(
        _about(r"(reasoning_effort|reasoning effort|thinking)"),
        "This model does not support this setting for thinking",
        "change thinking in the provider's settings",
    ),
)


def bad_request(detail: str, words: str) -> BadRequestError:
    """Return a refusal, and explain it if its lower-case words match a hint."""
    for hint in _HINTS:
        if hint.pattern.search(words):
            return BadRequestError(f"{detail}: {hint.advice}", text=hint.text)
    return BadRequestError(detail)
