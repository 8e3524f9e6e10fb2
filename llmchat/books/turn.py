"""One turn of a conversation: its request, its beginning, its progress and its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from llmchat.access.accounts import Notice
from llmchat.access.catalogue import Route
from llmchat.models import AnswerState
from llmchat.providers.types import (
    NO_OPTIONS,
    NOBODY,
    Answerer,
    ChatMessage,
    Key,
    Options,
    ToolCall,
    Usage,
)

# Checkpoints renew it; a worker that has not renewed it for this long is dead.
LEASE = timedelta(seconds=60)
_DETAIL = 300


@dataclass(frozen=True, slots=True)
class Turn:
    """A validated request for an answer.

    The last message is the user's, or the result of a tool. `stored` is how many of the
    messages were read from a stored conversation; with 0, that has to be found out.
    `replaces` is the question of the named conversation that the last message replaces.
    """

    session_id: str
    provider: str
    messages: tuple[ChatMessage, ...]
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    conversation_id: UUID | None = None
    options: Options = NO_OPTIONS
    stored: int = 0
    replaces: UUID | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A turn that is stored; `thread_hash` is its conversation's at that moment.

    `question_id` is the message that it answers. `budgets` are the budgets in which
    something is reserved; the providers of `route` are then asked for no more than
    that. `began_at` decides which prices apply.
    """

    user_id: int
    route: Route
    conversation_id: UUID
    message_id: UUID
    question_id: UUID
    thread_hash: str
    budgets: tuple[int, ...] = ()
    began_at: datetime = field(default_factory=timezone.now)

    @property
    def model(self) -> str:
        """The model that is asked."""
        return self.route.model

    @property
    def place(self) -> tuple[UUID, UUID, UUID]:
        """The conversation, the answer, and the message that it answers."""
        return self.conversation_id, self.message_id, self.question_id

    def answered_by(self, *, fell_back: bool) -> Route:
        """Return the route that gave the answer, or was asked last."""
        fallback = self.route.fallback
        return fallback if fell_back and fallback else self.route


@dataclass(frozen=True, slots=True)
class Progress:
    """The new text of a running answer from character `start` on; "" means none."""

    message_id: UUID
    start: int
    text: str
    first_token_at: datetime | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The progress of this process's running answers, to be stored."""

    progress: tuple[Progress, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended; `refused` maps the idents of refused keys to error codes.

    `usage` is what all attempts at the last route are billed for. `fell_back` says that
    the route's fallback was asked in the end; `before` is then what the route's own
    provider had billed by that time. `lines` and `lines_before` are the same for each
    attempt, in order: each is a request with a price of its own. `model` is the name
    that the provider gives, or that of the model asked if it gives none; `answerer`
    holds only what the provider says. `error_detail` is why it failed, for operators:
    never the provider's own words, which may repeat a key. `notice` tells the user of a
    budget once the end is stored.
    """

    state: AnswerState
    text: str
    usage: Usage
    model: str
    finish_reason: str = ""
    error_code: str = ""
    attempts: int = 1
    first_token_at: datetime | None = None
    refused: dict[str, str] = field(default_factory=dict)
    fell_back: bool = False
    before: Usage | None = None
    answerer: Answerer = NOBODY
    tool_calls: tuple[ToolCall, ...] = ()
    lines: tuple[Usage, ...] = ()
    lines_before: tuple[Usage, ...] = ()
    error_detail: str = ""
    notice: Notice | None = None


@dataclass(frozen=True, slots=True)
class KeyRefusal:
    """A provider's refusal of one of its keys, to be stored; `at` is when it came."""

    key: Key
    code: str
    at: datetime


@dataclass(frozen=True, slots=True)
class KnownHistory:
    """How many messages of a turn may be stored already, and the hash of those."""

    length: int
    hash: str


@dataclass(frozen=True, slots=True)
class Start:
    """A turn that is to be stored.

    `known` are the parts of its history that may be stored already, the likeliest
    first; `thread_hash` is the hash of all its messages. `key_id` is the API key of the
    request, if it has one.
    """

    user_id: int
    turn: Turn
    known: tuple[KnownHistory, ...]
    thread_hash: str
    key_id: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """An outcome that is to be stored.

    `again` means that an earlier attempt failed, although its COMMIT may have
    succeeded, or that the COMMIT of its start may have failed. An answer is settled
    only once; a second end only amends how the first says it ended.
    """

    begun: Begun
    outcome: Outcome
    again: bool = False


def detail(text: str) -> str:
    """Return why an answer failed, as one line of limited length for its row."""
    line = " ".join(storable(text).split())
    return line if len(line) <= _DETAIL else f"{line[: _DETAIL - 1]}…"


def storable(text: str) -> str:
    """Return `text` in a form that every database accepts: PostgreSQL refuses NUL."""
    return text.replace("\0", "\ufffd")
