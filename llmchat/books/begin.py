"""Deciding the start of a turn: its messages and the answer to come, or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import reduce
from operator import add
from typing import Any, NamedTuple
from uuid import UUID

from llmchat import conf
from llmchat.access import budgets, catalogue, permissions
from llmchat.books import totals
from llmchat.books.conversations import (
    found,
    goes_on,
    new_conversation,
    title_of,
)
from llmchat.books.extra import extra_of
from llmchat.books.facts import Facts
from llmchat.books.ids import new_id
from llmchat.books.replacing import Cut, cut_of
from llmchat.books.turn import Begun, Start, Turn
from llmchat.books.workers import worker_id
from llmchat.errors import ChatError, from_provider, refusal, unavailable
from llmchat.models import Conversation, Message
from llmchat.providers import acceptance
from llmchat.providers.answer import estimate_input_tokens
from llmchat.providers.errors import BadRequestError
from llmchat.providers.request import max_tokens
from llmchat.providers.retry import MAX_RETRIES
from llmchat.providers.types import Chat, ChatMessage, Usage

MAX_ATTEMPTS = 1 + MAX_RETRIES
# The defaults of a message's row.
_DEFAULTS = {
    field.name: field.get_default()
    for field in Message._meta.fields
    if field.name not in ("conversation", "user")
}


class StartUnknownError(ChatError):
    """The COMMIT of a start failed: the start may or may not be stored."""

    def __init__(self, begun: Begun) -> None:
        error = unavailable()
        super().__init__(
            error.code, error.text, error.status, retry_after=error.retry_after
        )
        self.begun = begun


def decide(facts: Facts, start: Start) -> Begun:
    """Note what a start stores, and return the turn; if it is refused, change nothing.

    Raises: ChatError `provider_not_found`, `permission_denied`, `key_not_configured`,
        `address_not_configured`, `token_invalid`, `session_active`, `too_many_streams`,
        `conversation_not_found`, `message_not_found`, `conversation_active`,
        `budget_exceeded`, `price_not_configured`,
        `bad_request`: the provider cannot take what the turn asks for.
    """
    route = _able(_route(facts, start), start.turn)
    if start.user_id not in facts.users:
        raise refusal("token_invalid")
    sessions = facts.sessions.setdefault(start.user_id, [])
    _check_running(sessions, start)
    going = found(facts.conversations, start)
    cut = _cut(facts, start, going[0]) if going else None
    message_id = new_id()
    route, drawn_on = _reserved(facts, start, message_id, route)
    conversation, new = going or (_added(facts, start), start.turn.messages)
    _name_if_new(facts, conversation, start.turn)
    if cut:
        conversation.thread_hash = cut.thread_hash
        conversation.replaced_count += cut.count
        facts.cuts.append(cut)
    goes_on(conversation, start, new)
    question_id = _add_messages(facts, conversation, new)
    _add_answer(facts, conversation, start, message_id, route.model)
    sessions.append(start.turn.session_id)
    return Begun(
        user_id=start.user_id,
        route=route,
        conversation_id=conversation.pk,
        message_id=message_id,
        question_id=question_id,
        thread_hash=conversation.thread_hash,
        budgets=drawn_on,
        began_at=facts.now,
    )


def _route(facts: Facts, start: Start) -> catalogue.Route:
    access = permissions.access(
        facts.known,
        is_superuser=facts.users.get(start.user_id, False),
        groups=facts.groups.get(start.user_id, frozenset()),
    )
    turn = start.turn
    return catalogue.route(turn.provider, access, turn.model, facts.known)


def _able(route: catalogue.Route, turn: Turn) -> catalogue.Route:
    """Return the route, without a fallback that cannot take the turn.

    Raises: ChatError `bad_request`: the provider itself cannot, or is not configured
        and the fallback cannot.
    """
    other = route.fallback
    try:
        acceptance.check(route.provider, _chat(turn, route.model))
        if other is None or _takes(other, turn):
            return route
        if not route.is_configured:
            acceptance.check(other.provider, _chat(turn, other.model))
    except BadRequestError as exc:
        raise from_provider(exc) from exc
    return replace(route, fallback=None)


def _takes(fallback: catalogue.Route, turn: Turn) -> bool:
    try:
        acceptance.check(fallback.provider, _chat(turn, fallback.model))
    except BadRequestError:
        return False
    return True


def _chat(turn: Turn, model: str) -> Chat:
    return Chat(model, turn.messages, turn.max_tokens, options=turn.options)


def _check_running(sessions: list[str], start: Start) -> None:
    if start.turn.session_id in sessions:
        raise refusal("session_active")
    if len(sessions) >= conf.get().max_streams_per_user:
        raise refusal("too_many_streams")


def _cut(facts: Facts, start: Start, conversation: Conversation) -> Cut | None:
    replaces = start.turn.replaces
    if replaces is None:
        return None
    thread = facts.threads[conversation.pk]
    return cut_of(thread, facts.messages, replaces, conversation)


def _added(facts: Facts, start: Start) -> Conversation:
    conversation = new_conversation(start, facts.now)
    facts.added.append(conversation)
    facts.conversations[conversation.pk] = conversation
    return conversation


def _name_if_new(facts: Facts, conversation: Conversation, turn: Turn) -> None:
    """Give a title to a conversation that was created empty.

    A title that its user gives it at the same time is stored later, and so prevails.
    """
    if not conversation.message_count and not conversation.title:
        conversation.title = title_of(turn)
        facts.named.append(conversation)


def _add_messages(
    facts: Facts, conversation: Conversation, messages: Sequence[ChatMessage]
) -> UUID:
    """Add the new messages, which are counted already; return the question's id."""
    ids = [new_id() for _ in messages]
    first = conversation.message_count - len(messages)
    for position, (ident, message) in enumerate(zip(ids, messages, strict=True), first):
        _add(
            facts,
            conversation,
            id=ident,
            position=position,
            role=message.role,
            content=message.content,
            extra=extra_of(message),
        )
    return ids[-1]


def _add_answer(
    facts: Facts, conversation: Conversation, start: Start, ident: UUID, model: str
) -> None:
    _add(
        facts,
        conversation,
        id=ident,
        position=conversation.message_count,
        role=Message.Role.ASSISTANT,
        state=Message.State.STREAMING,
        session_id=start.turn.session_id,
        key_id=start.key_id,
        provider=start.turn.provider,
        model=model,
        worker=worker_id(),
    )
    conversation.message_count += 1
    conversation.updated_at = facts.now
    totals.note_begin(conversation, model)
    facts.changed[conversation.pk] = conversation


def _add(facts: Facts, conversation: Conversation, **fields: Any) -> None:
    facts.messages.append(
        _DEFAULTS
        | {
            "conversation": conversation.pk,
            "user": conversation.user_id,
            "created_at": facts.now,
        }
        | fields
    )


def _reserved(
    facts: Facts, start: Start, message_id: UUID, route: catalogue.Route
) -> tuple[catalogue.Route, tuple[int, ...]]:
    """Reserve what the answer may use; return the route to ask, and the budgets.

    Every attempt may be billed, at the first provider and at its fallback, so all of
    them are reserved, each with the output limit that its provider is sent. Nothing is
    reserved for a provider that cannot be asked because it has no key or no address.

    Raises: ChatError `budget_exceeded`, `price_not_configured`, `key_not_configured`,
        `address_not_configured`: with the last two, no provider can be asked.
    """
    theirs = facts.ledger.drawn_on(start.user_id, start.key_id)
    if not theirs:
        return route, ()
    first, other = _worst_case(route, start.turn, facts.now), route.fallback
    second = _worst_case(other, start.turn, facts.now) if other is not None else None
    if second is not None and second.cost is None:
        second = None  # its cost could not be settled
    asked = _asked(first, second)
    most = reduce(add, (case.usage for case in asked))
    costs = [case.cost for case in asked if case.cost is not None]
    cost = sum(costs, Decimal(0)) if len(costs) == len(asked) else None
    named = asked[0].route
    of = f"The model {named.model} of {named.provider.label}"
    drawn_on = facts.ledger.reserve(theirs, message_id, most, cost, of=of)
    return replace(first.route, fallback=second.route if second else None), drawn_on


class _WorstCase(NamedTuple):
    """A route with an output limit, and the most that its attempts may use and cost."""

    route: catalogue.Route
    usage: Usage
    cost: Decimal | None


def _asked(first: _WorstCase, second: _WorstCase | None) -> list[_WorstCase]:
    """Return which of a provider and its fallback, if it has one, can be asked.

    Raises: ChatError `key_not_configured`, `address_not_configured`.
    """
    missing = first.route.missing
    if missing is None:
        return [first, second] if second else [first]
    if second is None:
        raise missing
    return [second]


def _worst_case(route: catalogue.Route, turn: Turn, at: datetime) -> _WorstCase:
    chat = _chat(turn, route.model)
    limit = max_tokens(route.provider, chat, budgets.DEFAULT_OUTPUT_TOKENS)
    provider = replace(route.provider, max_output_tokens=limit)
    inputs = MAX_ATTEMPTS * estimate_input_tokens(chat)
    usage = Usage(inputs, MAX_ATTEMPTS * limit, "estimated")
    cost = route.highest_cost(usage, route.model, at)
    return _WorstCase(replace(route, provider=provider), usage, cost)
