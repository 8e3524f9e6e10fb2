"""One turn of a conversation: as it comes in, as it begins, goes on and ends."""

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

# Checkpoints renew it; a worker that misses so many of them is dead.
LEASE = timedelta(seconds=60)
_DETAIL = 300


@dataclass(frozen=True, slots=True)
class Turn:
    """A validated request for an answer.

    The last message is the user's, or the result of a tool. `stored` is how many of
    the messages were read from a stored conversation; 0: that is to be found out.
    `replaces` is the question of the named conversation whose place the last message
    takes.
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

    `question_id` is the message that it answers. `budgets` are those that something is
    reserved of; the providers of `route` are then asked for no more than is reserved.
    `began_at` decides which prices hold.
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
        """Where the answer is, and which message it answers."""
        return self.conversation_id, self.message_id, self.question_id

    def answered_by(self, *, fell_back: bool) -> Route:
        """Return where the answer comes from, or was last asked for."""
        fallback = self.route.fallback
        return fallback if fell_back and fallback else self.route


@dataclass(frozen=True, slots=True)
class Progress:
    """The new text of one running answer, from its character `start` on; "": none."""

    message_id: UUID
    start: int
    text: str
    first_token_at: datetime | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What this process's running answers have become, to be stored."""

    progress: tuple[Progress, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an answer. `refused` maps the idents of refused keys to codes.

    `usage` is what all attempts are billed for where the answer came from.
    `fell_back` says that the route's fallback was asked in the end; `before` is what
    the route's own provider has billed until then. `lines` and `lines_before` are the
    same by attempt, in order: each is a request with a price of its own. `model` is a
    name, of the asked model where the provider says none; `answerer` holds what it
    says alone. `error_detail` is why it failed, for operators: never what a provider
    has said, which may echo a key. `notice` is what its user is told of a budget once
    the end is stored.
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
class Refusal:
    """A provider's word against one of its keys, that is to be stored: when it came."""

    key: Key
    code: str
    at: datetime


@dataclass(frozen=True, slots=True)
class KnownHistory:
    """So many messages of a turn, which may be stored already, and their hash."""

    length: int
    hash: str


@dataclass(frozen=True, slots=True)
class Start:
    """A turn that is to be stored.

    `known` is what may be stored of its history, the likeliest first; `thread_hash` is
    the hash of all of it. `key_id` is the API key that asks, if one does.
    """

    user_id: int
    turn: Turn
    known: tuple[KnownHistory, ...]
    thread_hash: str
    key_id: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """An outcome that is to be stored.

    `again`: an earlier attempt has failed, whose COMMIT may have come through. It is
    settled once, whatever happens; a second end changes the first one's word alone.
    """

    begun: Begun
    outcome: Outcome
    again: bool = False


def detail(text: str) -> str:
    """Return why an answer failed as its row holds it: one line of limited length."""
    line = " ".join(storable(text).split())
    return line if len(line) <= _DETAIL else f"{line[: _DETAIL - 1]}…"


def storable(text: str) -> str:
    """Return `text` as every database takes it: PostgreSQL refuses NUL."""
    return text.replace("\0", "\ufffd")
