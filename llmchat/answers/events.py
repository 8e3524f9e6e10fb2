"""The events of an answer: one `Started`, then `Token`s, then one end.

`message_id` is the answer, `question_id` the message that it answers. The `notice` of
an end concerns a budget that is nearly used up.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from llmchat.access.accounts import Notice
from llmchat.errors import ChatError
from llmchat.providers.types import ToolCall, Usage


@dataclass(frozen=True, slots=True)
class Started:
    """The turn is stored and its answer begins."""

    session_id: str
    provider: str
    model: str
    conversation_id: UUID
    message_id: UUID
    question_id: UUID

    @property
    def place(self) -> tuple[UUID, UUID, UUID]:
        """The conversation, the answer, and the message that it answers."""
        return self.conversation_id, self.message_id, self.question_id


@dataclass(frozen=True, slots=True)
class Token:
    """A new piece of the answer; it repeats nothing that was sent before."""

    session_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The answer is complete; `finish_reason` is a value of `FinishReason`.

    `cost` is in US dollars, None if there are no prices.
    """

    session_id: str
    provider: str
    model: str
    conversation_id: UUID
    message_id: UUID
    question_id: UUID
    text: str
    finish_reason: str
    usage: Usage
    tool_calls: tuple[ToolCall, ...] = ()
    cost: Decimal | None = None
    notice: Notice | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The turn was refused or its answer broke off; `partial` is the text sent before.

    `usage` and `cost` are what it is billed for, None if the answer has not begun.
    """

    session_id: str | None
    error: ChatError
    partial: str = ""
    conversation_id: UUID | None = None
    message_id: UUID | None = None
    question_id: UUID | None = None
    usage: Usage | None = None
    cost: Decimal | None = None
    notice: Notice | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The stream was cancelled; `partial` is the text that was sent before.

    `usage` and `cost` are what it is billed for.
    """

    session_id: str
    conversation_id: UUID
    message_id: UUID
    question_id: UUID
    partial: str
    usage: Usage | None = None
    cost: Decimal | None = None
    notice: Notice | None = None


End = Done | Failed | Cancelled
StreamEvent = Started | Token | Done | Failed | Cancelled
