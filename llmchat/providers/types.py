"""What goes to a provider and what comes back, in our own terms.

No provider's wire format appears outside its adapter: a `Chat` goes in, `Event`
values come out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]
Protocol = Literal["openai", "deepseek", "claude", "gemini"]
Source = Literal["provider", "estimated"]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a user's message: its address, or the bytes themselves.

    `data` is in base64, and `media_type` is its type, such as "image/png"; both are ""
    if there is a `url`, which begins with http. `detail` is OpenAI's, "" if not given.
    """

    url: str = ""
    media_type: str = ""
    data: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called; `arguments` is JSON as it wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation as a provider is sent it.

    `images` are the user's, `tool_calls` the assistant's. A message of the role "tool"
    is the result of the call that `tool_call_id` names.
    """

    role: Role
    content: str
    images: tuple[Image, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """What a request may ask for besides its messages, in OpenAI's shapes.

    `tools` are `{"type": "function", "function": {…}}`; `tool_choice` is "auto",
    "none", "required" or `{"type": "function", "function": {"name": …}}`;
    `response_format` is `{"type": "json_object"}` or `{"type": "json_schema", …}`.
    """

    stop: tuple[str, ...] = ()
    seed: int | None = None
    response_format: Mapping[str, object] | None = None
    tools: tuple[Mapping[str, object], ...] = ()
    tool_choice: str | Mapping[str, object] | None = None


NO_OPTIONS = Options()


@dataclass(frozen=True, slots=True)
class Chat:
    """One request for an answer, as the use case asks for it.

    `model` is the provider's own name of the model, never empty.
    `max_output_tokens` and `temperature` are None if the client sent none.
    """

    model: str
    messages: tuple[ChatMessage, ...]
    max_output_tokens: int | None = None
    temperature: float | None = None
    options: Options = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider as an operator has configured it, keys aside.

    The capability flags say what the model's server takes; their defaults suit an
    OpenAI-compatible server about which nothing else is known. `models` lists all
    models of a server that would answer a request for any other name with one of them.
    `model_output_tokens` is the most that the model to ask can write.
    """

    name: str
    protocol: Protocol
    label: str
    base_url: str
    needs_key: bool = True
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    max_output_tokens: int | None = None
    model_output_tokens: int | None = None
    accepts_sampling: bool = True
    temperature_max: float = 2.0
    system_role: Literal["system", "developer"] = "system"
    thinking: Literal["omit", "disabled"] = "omit"
    include_usage: bool = True
    takes_images: bool = True
    takes_tools: bool = True
    models: tuple[str, ...] = ()


class FinishReason(StrEnum):
    """Why an answer ended normally; the values of `finishReason` on the wire."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    TOOL_CALLS = "tool_calls"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of answer text, never empty and free of lone surrogates."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer.

    `source` is "provider" if the provider counted, "estimated" if the counts are a
    guess from what was sent and received.

    Four counts are disjoint: `uncached_tokens`, `cache_read_tokens`,
    `cache_write_tokens` and `output_tokens`. The first three add up to `input_tokens`,
    whatever the provider itself includes in its input. `reasoning_tokens` is part of
    `output_tokens`, and `cache_write_long_tokens`, which are kept for hours and cost
    more, is part of `cache_write_tokens`. `is_free` says that the usage was counted but
    is not billed. `has_output` says that text, a thought or a tool call came, shown and
    counted or not; it is not a count, and is stored nowhere.
    """

    input_tokens: int | None
    output_tokens: int
    source: Source
    reasoning_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_long_tokens: int = 0
    is_free: bool = False
    has_output: bool = field(default=False, compare=False)

    @property
    def uncached_tokens(self) -> int:
        """Return the input that was neither read from a cache nor written to one."""
        cached = self.cache_read_tokens + self.cache_write_tokens
        return max((self.input_tokens or 0) - cached, 0)

    def __add__(self, other: Usage) -> Usage:
        """Return the sum of both, which is an estimate if either of them is.

        If only one of them is free, it is left out, so that all of the sum is billed.
        """
        if self.is_free != other.is_free:
            return other if self.is_free else self
        inputs = (self.input_tokens, other.input_tokens)
        known = [tokens for tokens in inputs if tokens is not None]
        return Usage(
            sum(known) if known else None,
            self.output_tokens + other.output_tokens,
            self.source if self.source == other.source else "estimated",
            self.reasoning_tokens + other.reasoning_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.cache_write_long_tokens + other.cache_write_long_tokens,
            self.is_free,
            self.has_output or other.has_output,
        )


@dataclass(frozen=True, slots=True)
class Answerer:
    """Who a provider says has answered, "" if it does not say.

    `fingerprint` changes when the provider puts another model behind the same name.
    """

    model: str = ""
    fingerprint: str = ""


NOBODY = Answerer()


@dataclass(frozen=True, slots=True)
class Finished:
    """The provider's own statement that the answer is complete; always the last event.

    `model` is the model that answered according to the provider, "" if it does not say.
    `raw_reason` is the provider's own finish reason, for the log and the admin.
    `tool_calls` are complete, and come in addition to the text or instead of it.
    """

    reason: FinishReason
    usage: Usage
    model: str = ""
    raw_reason: str = ""
    attempts: int = 1
    tool_calls: tuple[ToolCall, ...] = ()


Event = Delta | Finished
Batch = list[str] | Finished  # the pieces of text that one read of the body holds


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds. `first_token_s` is for all attempts together."""

    connect_s: float = 5.0
    first_token_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Key:
    """A provider key. `ident` names it in logs and in the admin, never the value.

    `stored` is the value as its row holds it, "" if there is no row.
    """

    ident: str
    value: str = field(repr=False)
    stored: str = field(default="", repr=False)
