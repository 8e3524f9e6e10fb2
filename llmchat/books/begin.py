"""The start of a turn: its message and the answer to come, in one transaction."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.utils import timezone

from llmchat import conf
from llmchat.access import budgets, catalogue, permissions
from llmchat.books import totals
from llmchat.books.conversations import open_conversation
from llmchat.books.sweep import sweep
from llmchat.books.turn import LEASE, Begun, Turn
from llmchat.books.workers import worker_id
from llmchat.errors import ChatError, refusal
from llmchat.models import Message
from llmchat.providers.answer import estimate_input_tokens
from llmchat.providers.request import max_tokens
from llmchat.providers.retry import MAX_RETRIES
from llmchat.providers.types import Chat, Usage

_RETRY_AFTER_S = 5
MAX_ATTEMPTS = 1 + MAX_RETRIES
_MAY_BE_DEAD = frozenset({"session_active", "too_many_streams"})
_State = Message.State


class StartUnknownError(ChatError):
    """The COMMIT of a start has failed: perhaps it is stored, perhaps it is not."""

    def __init__(self, begun: Begun) -> None:
        error = _unavailable()
        super().__init__(
            error.code, error.text, error.status, retry_after=error.retry_after
        )
        self.begun = begun


def begin_turn(user_id: int, turn: Turn) -> Begun:
    """Store the user's message and the answer to come, in one transaction.

    Raises: ChatError `provider_not_found`, `permission_denied`, `key_not_configured`,
        `address_not_configured`, `token_invalid`, `session_active`, `too_many_streams`,
        `conversation_not_found`, `budget_exceeded`, `price_not_configured`,
        `database_unavailable`; StartUnknownError, which is the last of them.
    """
    try:
        access = permissions.access_of(user_id)
        route = catalogue.route(turn.provider, access, turn.model)
        try:
            return _begin(user_id, turn, route)
        except ChatError as exc:
            # What is in the way may belong to a process that has died. It is swept in
            # transactions of its own, which no later refusal undoes.
            if exc.code not in _MAY_BE_DEAD:
                raise
            sweep(user_id)
        return _begin(user_id, turn, route)
    except (OperationalError, InterfaceError) as exc:
        raise _unavailable() from exc


def _begin(user_id: int, turn: Turn, route: catalogue.Route) -> Begun:
    begun: Begun | None = None
    try:
        with transaction.atomic():
            _lock_user(user_id)
            _check_running(user_id, turn)
            begun = _stored(user_id, turn, route)
    except (OperationalError, InterfaceError) as exc:
        if begun is None:
            raise
        raise StartUnknownError(begun) from exc
    except IntegrityError as exc:
        if turn.session_id not in _running_sessions(user_id):
            raise
        raise refusal("session_active") from exc
    else:
        return begun


def _unavailable() -> ChatError:
    return refusal("database_unavailable", retry_after=_RETRY_AFTER_S)


def _lock_user(user_id: int) -> None:
    """Make the turns of one user start one after another, on every worker."""
    users = get_user_model().objects.select_for_update(no_key=True)
    if not users.filter(pk=user_id, is_active=True).exists():
        raise refusal("token_invalid")


def _check_running(user_id: int, turn: Turn) -> None:
    running = _running_sessions(user_id)
    if turn.session_id in running:
        raise refusal("session_active")
    if len(running) >= conf.get().max_streams_per_user:
        raise refusal("too_many_streams")


def _running_sessions(user_id: int) -> list[str]:
    rows = Message.objects.filter(user_id=user_id, state=_State.STREAMING)
    return list(rows.order_by().values_list("session_id", flat=True))


def _stored(user_id: int, turn: Turn, route: catalogue.Route) -> Begun:
    conversation = open_conversation(user_id, turn)
    now = timezone.now()
    model = turn.model or route.default_model
    answer = Message.objects.create(
        conversation=conversation,
        user_id=user_id,
        position=conversation.message_count,
        role=Message.Role.ASSISTANT,
        state=_State.STREAMING,
        created_at=now,
        session_id=turn.session_id,
        provider=turn.provider,
        model=model,
        worker=worker_id(),
        lease_until=now + LEASE,
    )
    route, drawn_on, limit = _reserved(user_id, answer.pk, turn, route)
    conversation.message_count += 1
    totals.note_begin(conversation, model)
    conversation.save()
    return Begun(
        user_id=user_id,
        route=route,
        model=model,
        conversation_id=conversation.pk,
        message_id=answer.pk,
        thread_hash=conversation.thread_hash,
        budgets=drawn_on,
        max_output_tokens=limit,
    )


def _reserved(
    user_id: int, message_id: UUID, turn: Turn, route: catalogue.Route
) -> tuple[catalogue.Route, tuple[int, ...], int | None]:
    """Reserve what the answer may use; return what it may ask, of whom, how much.

    Every attempt may be billed, and the fallback's beside the first provider's, so
    that all of them are reserved, each with the limit that the provider is told.
    """
    chat = Chat(turn.model or route.default_model, turn.messages, turn.max_tokens)
    limit = max_tokens(route.provider, chat) or budgets.DEFAULT_OUTPUT_TOKENS
    most = _times(MAX_ATTEMPTS, Usage(estimate_input_tokens(chat), limit, "estimated"))
    cost = route.highest_cost(most)
    everywhere = _times(2 if route.fallback else 1, most)
    drawn_on = budgets.reserve(user_id, message_id, everywhere, cost)
    if not drawn_on:
        return route, (), turn.max_tokens
    if route.fallback and route.fallback.cost(most) is None:
        # What it would cost could not be settled.
        route = replace(route, fallback=None)
    return route, drawn_on, limit


def _times(number: int, usage: Usage) -> Usage:
    inputs = number * (usage.input_tokens or 0)
    return Usage(inputs, number * usage.output_tokens, usage.source)
